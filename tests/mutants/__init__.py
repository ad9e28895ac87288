"""Mutation testing: each condition, number and call of a room is changed once, and a test has to fail.

``make mutants`` makes the mutants with mutmut, and runs for each the tests that enter the changed function.
mutmut learns which tests those are from what is entered in its own process. ``site/`` and ``plugin.py`` add what
tests enter in the processes that they start.
"""
