"""Every guard of every script, what goes wrong without it, and the test that misses it.

``guard`` says what a row is and takes guards out; ``attempts``, ``entries``, ``people``, ``keepers`` and ``reading`` hold
the rows; ``unguarded`` lists the conditions that guard nothing, with the reason.
"""
