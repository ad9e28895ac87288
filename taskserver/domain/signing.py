"""Seals: signatures in front of messages, which prove that whoever submitted a message has the key.

::

    0xC1   expiry, ms   HMAC-SHA256   envelope
       1            8            32          …   bytes

0xC1 is the one byte that MessagePack never uses, so a sealed message cannot be mistaken for an unsealed one, nor the
other way round. The signature (RFC 2104) covers the queue and the job's key as well: it is not valid for a copy of the
message in another job or queue. It is checked before anything of the message is decoded.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Sequence
from datetime import UTC, datetime

from taskserver.errors import ConfigError, SignatureInvalid

SEAL_BYTES = 41
KEY_BYTES = 32
"""The shortest key: as long as the signature (RFC 2104, section 3)."""
TTL_MS = 7 * 86_400_000
SEALED = b"\xc1"
"""First byte of a sealed message."""

_PURPOSE = b"taskserver message 1"
_LAST_MS = 253_402_300_799_000
"""The end of the year 9999, the last date that can be shown."""


class Keyring:
    """The signing keys of one process: the first one signs, and a signature by any of them is valid.

    Args:
        keys: At least one key, each of at least 32 bytes.
        ttl_ms: How long a signature is valid, in milliseconds from when the job may start.

    Raises:
        ConfigError: for a key that is too short.
    """

    __slots__ = ("_keys", "_ttl_ms")

    def __init__(self, keys: Sequence[bytes], ttl_ms: int = TTL_MS) -> None:
        if not keys or min(map(len, keys)) < KEY_BYTES:
            raise ConfigError(f"a signing key must have at least {KEY_BYTES} bytes: make one with openssl rand -hex 32")
        self._keys = tuple(keys)
        self._ttl_ms = ttl_ms

    def __repr__(self) -> str:
        return f"<Keyring of {len(self._keys)}>"

    def seal(self, queue: str, key: str, envelope: bytes, start_ms: int) -> bytes:
        """The seal to be put in front of a job's envelope.

        Args:
            queue: The job's queue.
            key: Its id without the queue.
            envelope: The packed envelope, unsealed.
            start_ms: When the job may start, in milliseconds since 1970.
        """
        expiry = struct.pack(">Q", min(start_ms + self._ttl_ms, _LAST_MS))
        return SEALED + expiry + _sign(self._keys[0], queue, key, expiry, envelope)

    def open(self, queue: str, key: str, message: bytes, now_ms: int | None) -> bytes:
        """Check the seal of a message and return the envelope after it.

        Args:
            queue: The job's queue.
            key: Its id without the queue.
            message: The untrusted message from the broker.
            now_ms: Milliseconds since 1970; None to ignore the expiry.

        Raises:
            SignatureInvalid: if there is no seal, or it is invalid or has expired.
        """
        if not is_sealed(message):
            raise SignatureInvalid(
                "the message is not signed, and this worker accepts signed messages only: "
                "set TASKSERVER_SIGNING_KEYS where it is submitted, and submit it again"
            )
        expiry, signature, envelope = message[1:9], message[9:SEAL_BYTES], message[SEAL_BYTES:]
        # All keys are tried: the time this takes must not reveal which one matched.
        matches = [hmac.compare_digest(signature, _sign(each, queue, key, expiry, envelope)) for each in self._keys]
        if not any(matches):
            raise SignatureInvalid(
                "the message's signature is invalid: "
                "it was signed with another key or for another job, or it was changed"
            )
        (until_ms,) = struct.unpack(">Q", expiry)
        if now_ms is not None and now_ms > until_ms:
            moment = datetime.fromtimestamp(until_ms // 1000, UTC)
            raise SignatureInvalid(
                f"the message's signature expired at {moment:%Y-%m-%d %H:%M:%S} UTC: "
                "run the job again from a process that has the key, which signs it again"
            )
        return envelope


def is_sealed(message: bytes) -> bool:
    """Whether there is a seal in front of the envelope, valid or not."""
    return len(message) > SEAL_BYTES and message.startswith(SEALED)


def without_seal(message: bytes) -> bytes:
    """The envelope of a message that may be sealed; the seal is not checked."""
    return message[SEAL_BYTES:] if is_sealed(message) else message


def _sign(key: bytes, queue: str, job: str, expiry: bytes, envelope: bytes) -> bytes:
    """HMAC over the parts, all but the last preceded by their length, so that no two sets of parts look the same."""
    parts = (_PURPOSE, queue.encode(), job.encode("utf-8", "surrogatepass"), expiry)
    head = b"".join(struct.pack(">I", len(part)) + part for part in parts)
    return hmac.digest(key, head + envelope, "sha256")
