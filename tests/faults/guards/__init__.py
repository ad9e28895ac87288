"""Every guard of every script, what goes wrong without it, and the test that misses it.

``guard`` says what a row is and takes guards out; ``attempts``, ``clients``, ``background``, ``records`` and ``audit``
have the rows, ``table`` all of them; ``unguarded`` lists the conditions that guard nothing, with the reason; ``page``
writes the docs, and ``search`` runs the simulation against each mutant.
"""
