"""Everything that is stored in the broker: domain objects in, domain objects out. Only this package imports redis.

==================  ==============================================================================================
``broker/``         connects to the broker: URLs, servers, retries, errors, schema, health, access control
``jobs/``           moves jobs from state to state: submit, claim, settle, lease, recover, and what people do
``queries/``        reads jobs, queues and workers
``maintenance/``    finds damage and repairs it, and keeps the list of queues
==================  ==============================================================================================

They import downwards: ``maintenance → queries | jobs → broker``. Below them, ``keys.py`` names every key with its type
and time to live, ``scripts.py`` loads the Lua scripts in ``lua/``, one per transition, and ``replies.py`` reads their
answers.
"""
