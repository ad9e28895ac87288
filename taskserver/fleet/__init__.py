"""All resources of a configuration file on this machine: ``up``, ``down`` and ``ps``.

``place.py`` has the folder that says what is up, ``up.py`` brings it up, ``detached.py`` does so, also in the
background.
"""
