"""A queue under everything that can happen to it, in any order, and a model that says what may not.

``model`` knows what each job may do next, and ``snapshot`` reads what the broker holds at one moment. The rules are
grouped by who acts: ``clients`` and people, ``workers``, ``background`` (what workers do besides) and ``tampering``.
``base`` has what they share, ``machine`` has them all.
"""
