"""The embedded broker: if no broker is configured, the first process that needs one starts a Valkey server.

It listens on a unix socket in the project's ``.taskserver/`` folder, keeps an append-only file there, and stops soon
after its last user. File locks (``flock``) decide who may do what, because the kernel releases such a lock however its
holder dies:

===============  =====================================================================================
``users.lock``   shared by every user for as long as it uses the broker. The keeper waits for it
                 *exclusively*: getting it proves that no user is left. It then stops the server, and
                 releases the lock by exiting, so a late user waits, and starts a new server.
``keeper.lock``  held by the keeper, and contains its process id. A user that gets it knows that there
                 is no keeper, starts one, and passes the lock on as the keeper's standard input, so
                 that there are never two.
``data.lock``    held by the server itself, which inherits it from the keeper: never two servers
                 on one append-only file, not even when a keeper died and left its server behind.
``stay``         not a lock but a marker file: while it exists, the keeper keeps running without users.
                 ``start`` makes it; ``stop`` removes it, and so does a user that starts a new keeper.
===============  =====================================================================================

The keeper (:mod:`taskserver.embedded.keeper`) is the server's parent process. It restarts the server when it crashes,
but not when it ended by itself on request or because it could not continue. Beside the keeper waits its *understudy*,
a shell that reads from a pipe whose other end only the keeper has. When the keeper is killed, the read ends, and the
shell turns into a new keeper, which replaces the running server. That needs no polling, and works the same on Linux and
macOS. Only if both are killed does a server keep running by itself; the next user, or ``stop``, takes control of it.
"""

from taskserver.embedded.binary import find_binary
from taskserver.embedded.broker import EmbeddedBroker
from taskserver.embedded.control import EmbeddedStatus, start, status, stop
from taskserver.embedded.home import Home

__all__ = ["EmbeddedBroker", "EmbeddedStatus", "Home", "find_binary", "start", "status", "stop"]
