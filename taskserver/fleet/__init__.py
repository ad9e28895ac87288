"""Many worker processes on one machine: replicas under a supervisor, and ``taskserver up`` with several of those.

In reading order, from one process upwards:

==================  ==================================================================================================
``assignment.py``   everything a process needs to know to become a worker
``runtime.py``      makes the current process a worker: environment, tools, broker
``signals.py``      the process's signals, kept from libraries that take them
``event_loop.py``   the process's event loop, and its end
``monitor.py``      a worker's HTTP port: metrics, health, readiness
``link.py``         the messages between a supervisor and a replica, and the socket they travel over
``replica.py``      the program of a replica (``sources.py``: which source files it was loaded from)
``supervisor/``     keeps N replicas of one assignment alive; start at ``supervisor/supervisor.py``
``planning.py``     turns the task servers of a configuration file into assignments
``up.py``           runs one supervisor for each task server of a file (``up_state.py``: what is up, on disk)
``background.py``   runs a supervisor or ``up`` in the background (``pidfile.py``: one process per PID file)
==================  ==================================================================================================

Small helpers: ``first_process.py`` (process 1 of a container), ``interpreter.py`` (how processes are started),
``output.py`` (log files), ``service_manager.py`` (systemd's notifications), ``terminal.py`` (no input).
"""
