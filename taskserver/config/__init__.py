"""Settings and configuration files.

Read in this order:

- ``worker_settings.py`` declares the settings of a worker, once for environment, file and flags; ``values.py`` has the
  kinds of their values.
- ``settings.py`` has every setting and reads it from the environment (``TASKSERVER_*``).
- ``texts.py`` takes what cannot be seen out of texts from files and variables.
- ``keys.py`` reads the signing keys to which a setting refers.
- ``resources.py`` has every key of a configuration file, and ``schema.py`` makes its JSON Schema.
- ``file.py`` loads a file: ``document.py`` reads the YAML with its lines, ``references.py`` resolves ``${NAME}``,
  ``checks.py`` compares values with each other, and ``problems.py`` words the errors.
"""
