"""The program behind ``taskserver demo``: an agent, two workers and a broker, with every result checked.

``run.py`` is the whole demo; ``steps.py`` has its nine steps, ``checks.py`` what each of them must have shown, and
``tools.py`` the tools that the workers run. ``environment.py`` and ``workers.py`` start the broker and the workers,
``files.py`` picks the files, ``display.py`` prints, ``interrupts.py`` handles Ctrl-C.
"""
