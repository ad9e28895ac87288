"""Why no TLS connection can be made, where waiting does not help: a file, a certificate, a name, or the wrong scheme.

The client library says neither which option of the URL is to blame nor which file. So when a connection fails, the
files are tried again here, one by one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from taskserver.store.broker.urls import BrokerURL

PROBE_SECONDS = 1.0
"""How long a server may take to show which protocol it speaks."""

_OTHER_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST")
_WRITE_PLAIN = "the server does not speak TLS: write redis:// instead of rediss://"
_WRITE_TLS = "the server expects TLS: write rediss:// instead of redis://"


def explain(error: BaseException, options: Mapping[str, Any]) -> str:
    """Why a connection with these options failed, and what to do; '' if waiting may help.

    Args:
        error: What the client library raised.
        options: The options of the URL.
    """
    if why := _unusable_file(options):
        return why
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _untrusted(cause)
        if isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS:
            return _WRITE_PLAIN
        if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
            return (
                f"the server refused it ({(cause.reason or '').lower().replace('_', ' ')}): it may require a "
                "certificate of yours, in the options ssl_certfile and ssl_keyfile"
            )
    return ""


async def wrong_scheme(url: BrokerURL) -> str:
    """What to write, if the server speaks TLS and the URL does not, or the other way round; else ''."""
    if not url.hosts:
        return ""
    host, port = url.hosts[0]
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(PROBE_SECONDS):
            if url.tls:
                return _WRITE_PLAIN if await _speaks_plainly(host, port) else ""
            return _WRITE_TLS if await _speaks_tls(host, port) else ""
    return ""


def _unusable_file(options: Mapping[str, Any]) -> str:
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if name in options:
            try:
                with open(options[name], "rb"):
                    pass
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                return f"the file in the option {name} cannot be read: {options[name]!r}: {reason}"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if "ssl_ca_certs" in options:
        try:
            context.load_verify_locations(options["ssl_ca_certs"])
        except ssl.SSLError:
            return f"the file in the option ssl_ca_certs contains no certificate: {options['ssl_ca_certs']!r}"
    if "ssl_certfile" in options:
        certificate, key = options["ssl_certfile"], options.get("ssl_keyfile")
        try:
            context.load_cert_chain(certificate, key, options.get("ssl_password", ""))
        except ssl.SSLError:
            with_key = f" and ssl_keyfile ({key!r})" if key else ""
            return (
                f"the option ssl_certfile ({certificate!r}){with_key} must name a certificate and its key; "
                "the password of an encrypted key belongs in ssl_password"
            )
    return ""


def _untrusted(error: ssl.SSLCertVerificationError) -> str:
    reason = error.verify_message
    if error.verify_code in _OTHER_NAME:
        return (
            f"the server's certificate is for another name ({reason}): write the certificate's name as the host, "
            "or set the option ssl_check_hostname=false"
        )
    return (
        f"the server's certificate is not trusted ({reason}): set the option ssl_ca_certs to the file with the "
        "certificate of its authority"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


async def _speaks_tls(host: str, port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only to see whether it answers
    try:
        _, writer = await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    writer.transport.abort()
    return True


async def _speaks_plainly(host: str, port: int) -> bool:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"PING\r\n")
    answer = await reader.read(5)
    writer.transport.abort()
    return answer.startswith((b"+PONG", b"-"))
