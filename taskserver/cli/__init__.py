"""The command line: one file for each group of commands.

``main.py`` lists them and runs one; ``failures.py`` turns errors into messages and exit codes; ``connecting.py``
connects to the broker; ``screen.py`` prints; ``options.py`` and ``param_types.py`` have what several commands share.
"""
