"""Helpers for the tests of programs that use taskserver, and for programs small enough to hold their own worker.

``run_tool`` calls one tool, without a broker. ``running_worker`` runs whole jobs, on a broker of the test's own.
``taskserver.pytest_plugin`` makes fixtures of it.
"""

from taskserver.testing.broker import private_broker
from taskserver.testing.calling import run_tool
from taskserver.testing.context import RecordingContext
from taskserver.testing.worker import running_worker

__all__ = ["RecordingContext", "private_broker", "run_tool", "running_worker"]
