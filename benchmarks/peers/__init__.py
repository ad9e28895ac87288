"""The benchmark suite with the peers: the same jobs through every system, side by side, on one broker.

``python -m benchmarks.peers run`` (or ``make bench-peers``) measures; ``docs/benchmarks.md`` says what and how.
"""
