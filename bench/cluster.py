"""A Ray cluster of several nodes on this machine, whose nodes can be lost.

The head runs in Ray's `ray.cluster_utils.Cluster`. Each other node is a `ray start` with its
processes. Where this machine allows it, a node has a process space of its own (a PID namespace of
Linux), as on another machine: otherwise the kernel would tell its end to every process at once,
and a loss would not be the loss of a machine.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psutil

__all__ = ["Node", "NodeCluster", "node_cluster"]

UP_WITHIN_S: Final = 60.0
GONE_WITHIN_S: Final = 20.0
POLL_S: Final = 0.02
LOG_CHARS_SHOWN: Final = 2_000
STORE_BYTES: Final = 500_000_000
"""The object store of each node."""
APART: Final = (
    *("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"),
    "--kill-child",
)


def _apart() -> tuple[str, ...]:
    """The beginning of a command that runs in a process space of its own; empty if impossible."""
    if shutil.which(APART[0]) is None:
        return ()
    tried = subprocess.run([*APART, "true"], check=False, capture_output=True)
    return APART if tried.returncode == 0 else ()


class Node:
    """A node of the cluster with processes of its own."""

    def __init__(self, node_id: str, process: "subprocess.Popen[bytes]") -> None:
        self.node_id: Final = node_id
        self.is_lost = False
        """Whether `lose` was called."""
        self._process = process

    @property
    def is_alive(self) -> bool:
        """Whether its first process has not ended."""
        return self._process.poll() is None

    def titles(self) -> list[str]:
        """The titles of its processes; Ray names each worker after its actor's class."""
        found = []
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                found.append(" ".join(process.cmdline()))
        return found

    def lose(self) -> None:
        """End all its processes by SIGKILL, as a machine that loses its power; may be called twice.

        The raylet is first: it must not report that its workers have ended.
        """
        self.is_lost = True
        processes = self._processes()
        processes.sort(key=lambda process: _name_of(process) != "raylet")
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._process.wait(GONE_WITHIN_S)
        psutil.wait_procs(processes, timeout=GONE_WITHIN_S)

    def _processes(self) -> list[psutil.Process]:
        try:
            first = psutil.Process(self._process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def _name_of(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""


class NodeCluster:
    """A head, in which drivers run, and nodes that come and go."""

    def __init__(self, cluster: Any, folder: Path, cpus: int) -> None:
        self._cluster: Any = cluster  # Any: Ray's class has no types.
        self._folder = folder
        self._cpus = cpus
        self._made: list[Node] = []
        self._apart = _apart()
        self.is_apart: Final = bool(self._apart)
        """Whether each other node has a process space of its own."""
        self.address: Final[str] = cluster.address
        """The address for drivers."""
        self.head_id: Final[str] = cluster.head_node.node_id
        """The id of the head's node."""

    @property
    def nodes(self) -> list[Node]:
        """The nodes other than the head that are not lost, in the order of their starts."""
        return [node for node in self._made if not node.is_lost]

    def living(self) -> set[str]:
        """The ids of the nodes that Ray takes for alive."""
        table = self._cluster.global_state.node_table()
        return {node["NodeID"] for node in table if node["Alive"]}

    def add(self, *, labels: str = "") -> Node:
        """Start a node, and wait until Ray knows it. Raises `RuntimeError` when it does not start.

        `labels` are Ray's, as `zone=a,kind=b`.
        """
        before, log = self.living(), self._folder / f"node-{len(self._made)}"
        options = ["--num-cpus", str(self._cpus), "--object-store-memory", str(STORE_BYTES)]
        if labels:
            options += ["--labels", labels]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    *(*self._apart, sys.executable, "-m", "ray.scripts.scripts", "start"),
                    *("--address", self.address, "--block", "--disable-usage-stats", *options),
                ],
                stdout=output,
                stderr=output,
                env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
            )
        try:
            new = self._joined(before, process, log)
        except BaseException:
            Node("", process).lose()
            raise
        node = Node(new, process)
        self._made.append(node)
        return node

    def _joined(self, before: set[str], process: "subprocess.Popen[bytes]", log: Path) -> str:
        deadline_s = time.monotonic() + UP_WITHIN_S
        while not (new := self.living() - before):
            if process.poll() is not None or time.monotonic() > deadline_s:
                said = log.read_text(errors="replace")[-LOG_CHARS_SHOWN:]
                raise RuntimeError(f"a node of Ray has not started: {said}")
            time.sleep(POLL_S)
        return new.pop()

    def end(self) -> None:
        """End all nodes, the head last."""
        for node in self._made:
            node.lose()
        self._cluster.shutdown()


@contextlib.contextmanager
def node_cluster(cpus: int = 2) -> Iterator[NodeCluster]:
    """A cluster that has only its head at first; each node has so many CPUs.

    Call it before anything else of Ray: it needs `RAY_AUTH_MODE=disabled` in the environment,
    because its nodes share no token.
    """
    # Imported here: Ray reads the environment at its import.
    from ray.cluster_utils import Cluster

    head = {"num_cpus": cpus, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    with tempfile.TemporaryDirectory(prefix="cb", ignore_cleanup_errors=True) as folder:
        made = NodeCluster(Cluster(initialize_head=True, head_node_args=head), Path(folder), cpus)
        try:
            yield made
        finally:
            made.end()
