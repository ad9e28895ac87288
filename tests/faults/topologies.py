"""Several servers that make one broker: a master with replicas and Sentinels, or a Redis Cluster; on loopback."""

from __future__ import annotations

import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import redis
from redis.crc import key_slot

from tests.brokers import Server
from tests.patience import PATIENCE

HOST = "127.0.0.1"
SERVICE = "jobs"
NODE_TIMEOUT_MS = 1000
CALM_MS = 10_000
"""What Sentinels allow a server while it lives: on a machine that stalls they would see deaths that are none."""
SLOTS = 16384


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        return int(taken.getsockname()[1])


def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Wait for what servers agree on among themselves; they give no signal."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the servers did not come to an agreement"
        time.sleep(0.02)


class TcpServer(Server):
    """A server on a loopback port (with TLS, if its options name a certificate) as well as its socket."""

    def __init__(self, binary: str, *options: str) -> None:
        self.port = free_port()
        ports = ("--tls-port", str(self.port)) if "--tls-cert-file" in options else ("--port", str(self.port))
        super().__init__(binary, "--bind", HOST, "--repl-diskless-sync-delay", "0", *options, *ports)

    @property
    def direct(self) -> redis.Redis:
        """A client of this server, whatever its role, past all redirection."""
        return redis.Redis(unix_socket_path=str(self.socket), decode_responses=True)

    def info(self, name: str) -> Any:
        """One line of INFO."""
        with self.direct as client:
            return client.info()[name]

    def signal(self, number: int) -> None:
        """Send its process a signal."""
        assert self.process
        self.process.send_signal(number)


class Sentinel:
    """A Sentinel that watches one master; with TLS on another port, if its lines name a certificate."""

    def __init__(self, binary: str, folder: Path, master: TcpServer, quorum: int, *lines: str) -> None:
        self.port, self.tls_port = free_port(), 0
        if any(line.startswith("tls-cert-file") for line in lines):
            self.tls_port = free_port()
            lines = (*lines, f"tls-port {self.tls_port}")
        self._password = next((shlex.split(line)[1] for line in lines if line.startswith("requirepass")), None)
        configuration = folder / f"sentinel-{self.port}.conf"
        configuration.write_text(
            "\n".join(
                (
                    f"port {self.port}",
                    f"bind {HOST}",
                    f"dir {folder}",
                    f"logfile {folder}/sentinel-{self.port}.log",
                    f"sentinel monitor {SERVICE} {HOST} {master.port} {quorum}",
                    f"sentinel down-after-milliseconds {SERVICE} {CALM_MS}",
                    f"sentinel failover-timeout {SERVICE} 2000",
                    *lines,
                )
            )
        )
        self._process = subprocess.Popen([binary, str(configuration), "--sentinel"], stdin=subprocess.DEVNULL)

    @property
    def direct(self) -> redis.Redis:
        """A client of it."""
        return redis.Redis(HOST, self.port, password=self._password, decode_responses=True)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


class Watched:
    """A master, its replicas and three Sentinels.

    Attributes:
        servers: The servers; the first was the master to begin with.
        sentinels: The Sentinels.
    """

    def __init__(self, servers: list[TcpServer], sentinels: list[Sentinel]) -> None:
        self.servers = servers
        self.sentinels = sentinels

    @property
    def url(self) -> str:
        """The broker URL, without TLS and passwords."""
        return f"redis+sentinel://{','.join(f'{HOST}:{each.port}' for each in self.sentinels)}/{SERVICE}"

    def named(self) -> TcpServer:
        """The server that the Sentinels name."""
        with self.sentinels[0].direct as sentinel:
            _, port = sentinel.sentinel_get_master_addr_by_name(SERVICE)
        return next(server for server in self.servers if server.port == int(port))

    def fail_over(self) -> None:
        """Ask a Sentinel to exchange the roles, and return when they are."""
        before = self.named()
        until(lambda: self._exchanged(before))
        until(lambda: before.info("role") == "slave")

    def _exchanged(self, before: TcpServer) -> bool:
        """Whether another one is the master; if not, ask for it: an earlier attempt may have been given up."""
        if self.named() is not before:
            return bool(self.named().info("role") == "master")
        with self.sentinels[0].direct as sentinel, suppress(redis.ResponseError):
            sentinel.execute_command("SENTINEL", "FAILOVER", SERVICE)
        return False

    def wait_for_new_master(self, former: TcpServer) -> None:
        """Return when another server than ``former``, which is gone, is the master, and the others follow it."""
        self._allow(NODE_TIMEOUT_MS)
        until(lambda: self.named() is not former and self.named().info("role") == "master")
        until(lambda: all(self._follows(server) for server in self.servers if server not in (former, self.named())))
        self._allow(CALM_MS)

    def _follows(self, server: TcpServer) -> bool:
        followed = int(server.info("master_port") or 0), server.info("master_link_status")
        return followed == (self.named().port, "up")

    def _allow(self, milliseconds: int) -> None:
        for each in self.sentinels:
            with each.direct as sentinel:
                sentinel.sentinel_set(SERVICE, "down-after-milliseconds", milliseconds)


@contextmanager
def watched(binary: str, *options: str, replicas: int = 1, sentinel_lines: tuple[str, ...] = ()) -> Iterator[Watched]:
    """Start a master with replicas, and Sentinels that all know of each other."""
    with ExitStack() as stack:
        master = TcpServer(binary, *options).start()
        stack.callback(master.close)
        servers = [master]
        for _ in range(replicas):
            servers.append(replica_of(master, binary, *options))
            stack.callback(servers[-1].close)
        sentinels = []
        for _ in range(3):
            sentinels.append(Sentinel(binary, master.folder, master, 2, *sentinel_lines))
            stack.callback(sentinels[-1].close)
        until(lambda: all(_hurried(sentinel) for sentinel in sentinels))
        until(lambda: all(_knows_all(sentinel, replicas) for sentinel in sentinels))
        yield Watched(servers, sentinels)


def replica_of(master: TcpServer, binary: str, *options: str) -> TcpServer:
    """Start a replica, and return when it is in step."""
    replica = TcpServer(binary, *options, "--replicaof", f"{HOST} {master.port}")
    replica.start()
    until(lambda: replica.info("master_link_status") == "up")
    return replica


def _hurried(sentinel: Sentinel) -> bool:
    """Look around several times a second, not every ten."""
    try:
        with sentinel.direct as client:
            client.execute_command(
                "SENTINEL", "DEBUG", "INFO-PERIOD", 300, "PUBLISH-PERIOD", 200, "PING-PERIOD", 100, "ASK-PERIOD", 100
            )
    except redis.ConnectionError:
        return False
    return True


def _knows_all(sentinel: Sentinel, replicas: int) -> bool:
    try:
        with sentinel.direct as client:
            state = client.sentinel_masters()[SERVICE]
            return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == replicas)
    except redis.ConnectionError:
        return False


class Cluster:
    """A Redis Cluster of masters, each with as many replicas.

    Attributes:
        masters: Those that were masters to begin with, in the order of their slots.
        replicas: The replicas of each.
    """

    def __init__(self, masters: list[TcpServer], replicas: list[list[TcpServer]]) -> None:
        self.masters = masters
        self.replicas = replicas

    @property
    def url(self) -> str:
        """The broker URL."""
        return f"redis+cluster://{','.join(f'{HOST}:{each.port}' for each in self.masters)}"

    def owner(self, queue: str) -> TcpServer:
        """The master that a queue was put on when the cluster was made."""
        return self.masters[key_slot(f"{{{queue}}}".encode()) * len(self.masters) // SLOTS]

    def queue_on(self, master: TcpServer) -> str:
        """The name of a queue that lives there."""
        return next(name for name in (f"q{i}" for i in range(1000)) if self.owner(name) is master)

    def wait_for_promotion(self, dead: TcpServer) -> None:
        """Return when a replica has taken the place of a master."""
        replicas = self.replicas[self.masters.index(dead)]
        until(lambda: any(replica.info("role") == "master" for replica in replicas))

    @contextmanager
    def moving(self, queue: str, target: TcpServer) -> Iterator[Callable[[int], int]]:
        """Move a queue's slot, as ``redis-cli --cluster reshard`` does.

        The block gets a function that moves so many keys and returns how many it moved; when it ends the slot is the
        target's.
        """
        slot, source = key_slot(f"{{{queue}}}".encode()), self.owner(queue)
        with source.direct as from_, target.direct as to:
            to.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", from_.execute_command("CLUSTER", "MYID"))
            from_.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", to.execute_command("CLUSTER", "MYID"))

            def move(count: int) -> int:
                keys = from_.execute_command("CLUSTER", "GETKEYSINSLOT", slot, count)
                if keys:
                    from_.execute_command("MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *keys)
                return len(keys)

            yield move
            while move(100):
                pass
            for client in (to, from_):
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", to.execute_command("CLUSTER", "MYID"))


@contextmanager
def cluster(binary: str, *options: str, masters: int = 3, replicas: int = 0) -> Iterator[Cluster]:
    """Start a cluster, and return when all its nodes agree that it is one."""
    with ExitStack() as stack:

        def node() -> TcpServer:
            started = TcpServer(
                binary, "--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS),
                "--cluster-port", str(free_port()), *options,
            ).start()  # fmt: skip
            stack.callback(started.close)
            return started

        owners = [node() for _ in range(masters)]
        followers = [[node() for _ in range(replicas)] for _ in owners]
        everybody = [*owners, *(each for some in followers for each in some)]
        _introduce(everybody)
        for i, owner in enumerate(owners):
            _own(owner, -(-SLOTS * i // masters), -(-SLOTS * (i + 1) // masters) - 1)
            for replica in followers[i]:
                _follow(replica, owner)
        until(lambda: all(_settled(each, len(everybody), masters * replicas) for each in everybody))
        yield Cluster(owners, followers)


def _introduce(everybody: list[TcpServer]) -> None:
    first, *others = everybody
    for epoch, server in enumerate(everybody, 1):
        with server.direct as client:
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", epoch)
    with first.direct as client:
        for other in others:
            bus = other.options[other.options.index("--cluster-port") + 1]
            client.execute_command("CLUSTER", "MEET", HOST, other.port, bus)
    until(lambda: all(_nodes(each) == len(everybody) for each in everybody))


def _own(owner: TcpServer, first: int, last: int) -> None:
    with owner.direct as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)


def _follow(replica: TcpServer, owner: TcpServer) -> None:
    with owner.direct as client:
        name = client.execute_command("CLUSTER", "MYID")
    with replica.direct as client:
        client.execute_command("CLUSTER", "REPLICATE", name)
    until(lambda: replica.info("master_link_status") == "up")


def _nodes(server: TcpServer) -> int:
    with server.direct as client:
        nodes = client.execute_command("CLUSTER NODES")
    return sum("handshake" not in flags for flags in (node["flags"] for node in nodes.values()))


def _settled(server: TcpServer, nodes: int, replicas: int) -> bool:
    with server.direct as client:
        info = client.execute_command("CLUSTER INFO")
        shown = client.execute_command("CLUSTER NODES")
    followers = sum("slave" in node["flags"] for node in shown.values())
    return bool(info["cluster_state"] == "ok" and info["cluster_known_nodes"] == str(nodes) and followers == replicas)
