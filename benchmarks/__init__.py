"""The benchmark suite: how fast this checkout is, on this machine, in one run.

``python -m benchmarks`` (or ``make bench``) measures taskserver alone in about two minutes. Every figure is the
median of several interleaved rounds; absolute figures hold for the machine they were taken on, ratios travel better.
"""
