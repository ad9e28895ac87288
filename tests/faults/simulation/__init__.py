"""A queue under everything that can happen to it, in any order, and a model that says what may not.

``model`` knows what each job may do next, and ``view`` is what the broker holds at one moment. The rules are grouped by
who acts: ``people``, ``workers``, ``keepers`` (what workers do in the background) and ``trouble``. ``machine`` has them
all.
"""
