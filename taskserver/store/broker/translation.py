"""The client library's errors as ours: the broker is named, secrets are left out."""

from __future__ import annotations

from redis import exceptions as redis_errors

from taskserver.errors import BrokerDenied, BrokerError, BrokerFull, BrokerUnavailable, BrokerUnsuitable, TLSFailed
from taskserver.store.broker.tls import explain
from taskserver.store.broker.urls import BrokerURL, without_secrets

_UNANSWERED = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    OSError,
    redis_errors.BusyLoadingError,
    redis_errors.InvalidResponse,
    # After a failover, or while a cluster changes:
    redis_errors.ReadOnlyError,
    redis_errors.ClusterDownError,
    redis_errors.TryAgainError,
    redis_errors.AskError,  # the slot is being moved, or (MovedError) is elsewhere
)

_DENIED_IN_SCRIPT = ("The user executing the script can't", "ACL failure in script")
"""How Redis and Valkey report that a script may not run one of its commands."""


class GroupMissing(BrokerError):
    """A stream or consumer group of a queue was deleted; ``Broker.prepare`` creates it again."""


def translate(error: Exception, shown: str, url: BrokerURL) -> BrokerError:
    """Our error for one of the client library or the operating system.

    Args:
        error: What was raised.
        shown: The broker, as errors name it.
        url: Its URL.
    """
    text = str(error)
    if _is_refused_login(error):
        return BrokerDenied(f"the broker at {shown} refused the user or password: check the broker URL")
    if isinstance(error, redis_errors.NoPermissionError) or text.startswith(_DENIED_IN_SCRIPT):
        return BrokerDenied(f"the user in the broker URL for {shown} may not do this: {text}")
    if isinstance(error, redis_errors.OutOfMemoryError) or text.startswith(("OOM", "MISCONF")):
        return BrokerFull(f"the broker at {shown} accepts no more writes: {text}")
    if url.tls and isinstance(error, _UNANSWERED) and (why := explain(error, url.options)):
        return TLSFailed(f"no TLS connection to the broker at {shown} is possible: {why}")
    if isinstance(error, _UNANSWERED) or text.startswith(("BUSY", "NOREPLICAS", "UNBLOCKED force")):
        return BrokerUnavailable(f"the broker at {shown} does not answer: {_reason(error)}")
    if "NOGROUP" in text or "no such key" in text or "stream key no longer exists" in text:
        return GroupMissing(f"a stream or consumer group is missing at {shown}")
    if "shebang" in text or "#!lua" in text or "Error compiling script" in text:
        return BrokerUnsuitable(
            f"the broker at {shown} cannot run our scripts: use Redis 7.0 or newer, or Valkey 8 or newer"
        )
    return BrokerError(f"the broker at {shown} answered: {text}")


def _is_refused_login(error: BaseException | None) -> bool:
    """Whether the server refused the user or password; while a connection is being made, the cause says so."""
    while error is not None:
        if isinstance(error, redis_errors.AuthenticationError | redis_errors.AuthorizationError):
            return True
        if str(error).startswith(("WRONGPASS", "NOAUTH")):
            return True
        error = error.__cause__ or error.__context__
    return False


def _reason(error: Exception) -> str:
    if isinstance(error, redis_errors.TimeoutError):
        return "no answer in time"
    if isinstance(error, redis_errors.AskError):
        return "the queue's slot is moving to another node of the cluster"
    return without_secrets(str(error)) or type(error).__name__
