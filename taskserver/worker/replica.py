"""The replica's former name: supervisors of 0.1 that run on while the package is upgraded start ``-m`` this module."""

import runpy

if __name__ == "__main__":
    runpy.run_module("taskserver.fleet.replica", run_name="__main__", alter_sys=True)
