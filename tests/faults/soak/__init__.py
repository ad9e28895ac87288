"""The soak: real producers, workers and brokers that are really killed, and a ledger that says what was promised.

``python -m tests.faults.soak --minutes 10 --seed 7 --broker both`` (``make soak``); see docs/soak.md.

=================  ==================================================================================
``ledger.py``      one file that every process appends to: what was acknowledged, run, seen, inflicted
``tools.py``       what the jobs do, good and bad
``producer.py``    a process that submits, cancels and awaits jobs
``processes.py``   worker and producer processes, replaced when they die
``server.py``      the broker, its disk, and how a power cut is played
``plan.py``        which fault happens when: all of it follows from the seed
``inflicting.py``  how each fault is done, and undone
``watcher.py``     looks at jobs over and over: an end that was seen must stay
``records.py``     the ledger, read job by job
``check.py``       the invariants
``takeovers.py``   how long until jobs of killed workers ran again, and what was in the way
``report.py``      the figures, as a table and as JSON
``run.py``         one soak on one broker, from the start to the report
=================  ==================================================================================
"""
