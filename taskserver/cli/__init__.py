"""The command line: one file for each group of commands.

``main.py`` lists them and is where every run begins and ends; ``failures.py`` turns errors into sentences and exit
codes; ``connecting.py`` opens the client; ``screen.py`` prints; ``options.py`` has what several commands share.
"""
