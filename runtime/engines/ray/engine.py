"""The Ray engine: connecting to a cluster, starting processes, and finding them again.

Ray restarts nothing here (`max_restarts=0`): Callboard's supervisors do, because Ray can
neither delay restarts nor count them within a period.
"""

import asyncio
import contextlib
import functools
import logging
import os
import pathlib
import secrets
import signal
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import psutil
import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from callboard.actors.host.host import Host
from callboard.messages.errors import ClusterError, ClusterUnreachable, HostLost
from callboard.messages.hosts import ProcessOrder
from callboard.messages.lifecycle import Exit, ExitReason
from callboard.messages.ports import BlobStore, FrameCarrier, HostProcess

from ...cluster.network import cluster_error, parse_address
from ...detached.guest_process import GuestProcess
from ...detached.names import NAMESPACE
from ...settings import Settings
from ...transport.sockets import SocketAddress, SocketCarrier, SocketServer
from .blobs import RayBlobs
from .capacity import what_is_missing, what_is_taken
from .carrier import RayCarrier, host_lost, unpack_answer
from .leftovers import end_family, ray_family
from .process import Adopted, HostActor

__all__ = ["RayEngine", "RayProcess", "end_by_name"]

LOGGER: Final = logging.getLogger("callboard.ray")
CAPACITY_EVERY_S: Final = 1.0
"""How often it is looked whether what a process waits for is still there at all."""
PULL_RETRY_S: Final = 0.1
INTERRUPTED_GOODBYE_S: Final = 1.5
"""How long Ray may take to undo a start that was interrupted."""
CONTROL_CALLS_MAX: Final = 4
ANSWER_DEADLINE_S: Final = 4.0
"""How long a cluster may take to answer at all, before Ray's own client is let near it."""
ResultT = TypeVar("ResultT")
CALLS_MAX: Final = 10_000
"""Calls of one host at once: frames of many peers, plus what stays outstanding."""


@functools.cache
def _host_class() -> Any:
    """What Ray starts as a host. Made once: each one made is exported to the whole cluster."""
    remote: Any = ray.remote  # Ray's types do not know `concurrency_groups`.
    return remote(concurrency_groups={"control": CONTROL_CALLS_MAX})(HostActor)


class RayProcess:
    """The root's, or a driver's, handle on one Ray actor."""

    def __init__(self, handle: Any, name: str, engine: "RayEngine") -> None:
        self.name = name
        self.handle = handle
        self._engine = engine
        self.pid = 0
        self.address: SocketAddress | None = None

    async def become(self, slot: int, epoch: int, name: str) -> FrameCarrier:
        """See `HostProcess`."""
        control = self._engine.control
        assert control is not None
        mine = await self._engine.socket_address()
        self.address = await self._call(
            self.handle.become.remote(
                slot, epoch, name, control.epoch, mine, self._engine.control_handle
            )
        )
        return await self.carrier()

    async def adopt(self, control_epoch: int) -> Adopted | None:
        """Take over a host that works already; None when it is none. Raises `HostLost`."""
        mine = await self._engine.socket_address()
        handle = self._engine.control_handle
        adopted: Adopted | None = await self._call(
            self.handle.adopt.remote(control_epoch, mine, handle)
        )
        if adopted is not None:
            self.address = adopted.address
        return adopted

    async def carrier(self) -> FrameCarrier:
        """The way for frames of this process' own host to that one."""
        mine = await self._engine.socket_address()
        by_call = RayCarrier(self.handle, self.name)
        if self.address is None or mine is None or self.address.node != mine.node:
            return by_call
        return SocketCarrier(self.address, by_call)

    def bring_frames(self, slot: int, epoch: int) -> None:
        """Keep one pull outstanding, unless this process is a Ray actor and can be called."""
        control = self._engine.control
        if self._engine.control_handle is not None:
            return
        assert control is not None
        control.run_task(self._pull(control, slot, epoch))

    async def _pull(self, control: Host, slot: int, epoch: int) -> None:
        link = control.link(slot)
        while link.epoch == epoch and link.carrier is not None:
            try:
                answers = await self.handle.pull.remote(control.slot, link.bookkeeping())
            except ray.exceptions.ActorDiedError:
                return  # `watch` tells the root.
            except ray.exceptions.RayError as error:
                LOGGER.warning("pulling from %s: %s", self.name, error)
                await asyncio.sleep(PULL_RETRY_S)
                continue
            for answer in answers:
                control.receive(*unpack_answer(answer))

    async def connect(
        self, peers: Mapping[int, tuple[int, HostProcess]], *, is_open: bool = True
    ) -> None:
        """See `HostProcess`."""
        handles = {
            slot: (epoch, process.handle, process.address)
            for slot, (epoch, process) in peers.items()
            if isinstance(process, RayProcess | GuestProcess)
        }
        if handles:
            await self._call(self.handle.connect.remote(handles, is_open))

    async def disconnect(self, slot: int) -> None:
        """Tell the host that a driver has left. Raises `HostLost`."""
        await self._call(self.handle.disconnect.remote(slot))

    async def warm(self, codes: Sequence[bytes]) -> None:
        """See `HostProcess`."""
        with contextlib.suppress(HostLost, ray.exceptions.RayError):
            await self._call(self.handle.warm.remote(list(codes)))

    async def watch(self) -> Exit:
        """How it ended: an outstanding call fails as soon as the actor is dead."""
        while True:
            try:
                return Exit.from_data(await self.handle.watch.remote())
            except ray.exceptions.ActorUnavailableError:
                # The network, not the actor: heartbeats decide when that is too long.
                await asyncio.sleep(PULL_RETRY_S)
            except ray.exceptions.RayError as error:
                return Exit.of_error(ExitReason.HOST_LOST, host_lost(self.name, error))

    async def ping(self) -> None:
        """See `HostProcess`."""
        self.pid = await self._call(self.handle.ping.remote())

    async def kill(self) -> None:
        """End the process at once."""
        self._engine.forget(self)
        with contextlib.suppress(ray.exceptions.RayError):
            await asyncio.to_thread(ray.kill, self.handle, no_restart=True)
        if self._engine.after_end is not None:
            self._engine.after_end(self.name)

    async def _call(self, reference: Any) -> Any:
        try:
            return await reference
        except ray.exceptions.ActorDiedError as error:
            raise host_lost(self.name, error) from None
        except ray.exceptions.ActorUnavailableError as error:
            raise HostLost(f"{self.name} cannot be reached: {error}") from None


class RayEngine:
    """Hosts as Ray actors, spread over all nodes of a cluster."""

    name = "ray"

    def __init__(
        self, settings: Settings, *, system: str | None = None, control_handle: Any = None
    ) -> None:
        self.settings = settings
        self.control: Host | None = None
        self.control_handle: Final = control_handle
        """The Ray actor that this is; None in a driver. Its processes outlive it then."""
        self.before_start: Callable[[str], Awaitable[None]] | None = None
        """Called with a process' name before that is started."""
        self.after_end: Callable[[str], None] | None = None
        """Called with a process' name when it has been ended."""
        self._blobs = RayBlobs()
        self._processes: dict[RayProcess, None] = {}
        self._server: SocketServer | None = None
        self._listening: asyncio.Future[SocketAddress | None] | None = None
        self._owns_ray = False
        self._system = f"{settings.name}-{secrets.token_hex(3)}" if system is None else system

    async def start(self) -> None:
        """Start Ray on this machine, or connect to the cluster at the address.

        Raises `ClusterUnreachable` when nothing answers there within the deadline.
        """
        if ray.is_initialized():
            return  # The driver has connected already, and disconnects itself.
        settings = self.settings
        if settings.address is not None:
            await self._check_address(settings.address)
        self._owns_ray = True
        try:
            async with asyncio.timeout(settings.start_timeout_s):
                if settings.address is None:
                    # In this thread: Ray takes over its SIGTERM only here.
                    with _interruptible():
                        self._init()
                else:
                    await _in_daemon_thread(self._init)
        except TimeoutError:
            raise ClusterUnreachable(
                f"Ray did not start within {settings.start_timeout_s:g} s.",
                advice="Run `callboard doctor`; raise start_timeout_s on a slow machine.",
            ) from None
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise ClusterUnreachable(
                f"Ray cannot be used: {str(error).strip().splitlines()[0][:300]}",
                advice="Run `callboard doctor --address ...` on this machine.",
            ) from error

    def _init(self) -> None:
        settings = self.settings
        options: dict[str, Any] = {
            "logging_level": logging.ERROR,
            "log_to_driver": settings.show_host_logs,
            "namespace": self._system,
        }
        if settings.address is None:
            # "local" never joins somebody else's cluster on this machine.
            options |= {"address": "local", "include_dashboard": settings.dashboard}
        else:
            options["address"] = settings.address
            _use_token()
        ray.init(**options)

    async def _check_address(self, address: str) -> None:
        if address == "auto":
            return  # Ray itself looks for a cluster of this machine, and fails at once.
        endpoint = parse_address(address)
        deadline_s = min(self.settings.start_timeout_s, ANSWER_DEADLINE_S)
        error = await _in_daemon_thread(lambda: cluster_error(endpoint, deadline_s))
        if error is not None:
            raise ClusterUnreachable(
                f"no cluster answers at {address}: {error}.",
                advice="Is it running (`ray status`), is the port open, is this machine a "
                "node of it? `callboard doctor --address` looks at each.",
                address=address,
            )

    def attach(self, control: Host) -> None:
        """See `Engine`."""
        self.control = control

    async def socket_address(self) -> SocketAddress | None:
        """Where this driver takes frames from hosts of its own node."""
        if self._server is None:
            assert self.control is not None
            self._server = SocketServer(self.control.take, self.settings.limits)
            node = ray.get_runtime_context().get_node_id()
            self._listening = asyncio.ensure_future(self._server.start(node))
        assert self._listening is not None
        return await asyncio.shield(self._listening)

    def default_hosts(self) -> int:
        """One for each CPU of the cluster."""
        resources: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return max(1, int(resources.get("CPU", 1)))

    def blobs(self) -> BlobStore:
        """Ray's object store."""
        return self._blobs

    async def start_process(self, number: int, order: ProcessOrder | None = None) -> HostProcess:
        """A Ray actor on the node whose turn it is, or where Ray finds what is ordered."""
        what = "host" if order is None else order.name
        name = f"{self._system}-{what}-{number}"
        if order is not None:
            _check_capacity(name, order)
        if self.before_start is not None:
            await self.before_start(name)
        actor = _host_class().options(
            name=name,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=CALLS_MAX,
            **_place_for(number, order),
            **self._life(),
        )
        process = RayProcess(actor.remote(self.settings, name), name, self)
        self._processes[process] = None
        limit_s = self.settings.start_timeout_s
        try:
            process.pid = await _wait_until_ready(process, order, limit_s)
        except TimeoutError:
            await process.kill()
            why = "" if order is None else what_is_taken(order.resources, _free())
            raise ClusterError(
                f"{name} did not start within {limit_s:g} s{f': {why}' if why else ''}.",
                advice="Is there memory for one more process? `ray status` and the "
                "dashboard tell what Ray waits for.",
            ) from None
        except (ClusterError, asyncio.CancelledError):
            await asyncio.shield(process.kill())
            raise
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"{name} did not start: {str(error).strip().splitlines()[-1][:300]}",
                advice="Is Callboard installed on every node, in the same release?",
            ) from error
        return process

    def _life(self) -> dict[str, Any]:
        """How long its processes live: as long as this one, or until they are ended."""
        if self.control_handle is None:
            return {}
        return {"lifetime": "detached", "namespace": NAMESPACE}

    async def find(self, name: str) -> RayProcess | None:
        """A process of a detached system; None when there is none of that name any more."""
        try:
            handle = await asyncio.to_thread(ray.get_actor, name, NAMESPACE)
        except ValueError:
            return None
        process = RayProcess(handle, name, self)
        if self.control_handle is not None:  # A driver that attaches ends nobody.
            self._processes[process] = None
        return process

    def forget(self, process: RayProcess) -> None:
        """One is ended."""
        self._processes.pop(process, None)

    async def stop(self) -> None:
        """Kill what still lives and leave the cluster."""
        if self._server is not None:
            await self._server.stop()
        if not ray.is_initialized():
            if self._owns_ray:  # Its start was interrupted.
                _shut_down(ray_family(), limit_s=INTERRUPTED_GOODBYE_S)
            return
        for process in self._processes:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.kill(process.handle, no_restart=True)
        self._processes.clear()
        if self._owns_ray:
            # A cluster that is only joined may run below this process all the same.
            family = ray_family() if self.settings.address is None else []
            await asyncio.to_thread(_shut_down, family)


async def end_by_name(names: Iterable[str]) -> None:
    """End processes of a detached system, as far as they live."""
    for name in names:
        with contextlib.suppress(ValueError, ray.exceptions.RayError):
            handle = await asyncio.to_thread(ray.get_actor, name, NAMESPACE)
            await asyncio.to_thread(ray.kill, handle, no_restart=True)


def _shut_down(family: list[psutil.Process], limit_s: float | None = None) -> None:
    # First its own way, while its processes live: its client library ends this process
    # when it finds them gone.
    goodbye = threading.Thread(target=ray.shutdown, name="callboard-ray-end", daemon=True)
    goodbye.start()
    goodbye.join(limit_s)
    end_family(family)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C interrupt what blocks the event loop.

    While asyncio runs a main task, it only notes a SIGINT and cancels the task once the
    loop runs again; Ray's start keeps the loop for seconds.
    """
    before = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or not callable(before):
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


async def _in_daemon_thread(function: Callable[[], ResultT]) -> ResultT:
    """Like `asyncio.to_thread`, but what never returns does not keep the process alive."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[ResultT] = loop.create_future()

    def settle(call: Callable[[], None]) -> None:
        if not done.done():  # Otherwise nobody waits for it any more.
            call()

    def call() -> None:
        try:
            outcome = partial(done.set_result, function())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            outcome = partial(done.set_exception, error)
        with contextlib.suppress(RuntimeError):  # The loop has been closed meanwhile.
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=call, name="callboard-ray", daemon=True).start()
    return await done


async def _wait_until_ready(process: RayProcess, order: ProcessOrder | None, limit_s: float) -> int:
    """The process id, once it runs.

    What is ordered may be taken by others for a while, which is told, or be lost with its
    node, which ends the wait with `ClusterError`. Raises `TimeoutError`.
    """
    ready = asyncio.ensure_future(process.handle.ready.remote())
    try:
        async with asyncio.timeout(limit_s):
            while order is not None and not ready.done():
                await asyncio.wait((ready,), timeout=CAPACITY_EVERY_S)
                if not ready.done():
                    _check_capacity(process.name, order)
                    order.on_waiting(what_is_taken(order.resources, _free()))
            pid: int = await ready
            return pid
    finally:
        ready.cancel()
        if order is not None:
            order.on_waiting("")


def _check_capacity(name: str, order: ProcessOrder) -> None:
    """Raises `ClusterError` that names what no node has, and for what a start would wait."""
    nodes: Sequence[Mapping[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    missing = what_is_missing(order.resources, nodes)
    if missing:
        raise ClusterError(
            f"{name} cannot be placed: {missing}.",
            advice="Ask for less, or add a node that has it; `ray status` shows what there is.",
        )


def _free() -> Mapping[str, float]:
    free: Mapping[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return free


def _place_for(number: int, order: ProcessOrder | None) -> dict[str, Any]:
    """Ray's options that say where a process runs and what it reserves."""
    if order is None:
        return {"num_cpus": 0, "scheduling_strategy": _node_for(number)}
    wanted = order.resources
    return {
        "num_cpus": wanted.cpus,
        "num_gpus": wanted.gpus,
        "memory": wanted.memory_bytes or None,
        "resources": dict(wanted.custom) or None,
        "label_selector": dict(wanted.node_labels) or None,
    }


def _node_for(number: int) -> Any:
    """Nodes in turn.

    Not soft: Ray then takes any node it likes. A node that is lost meanwhile fails the
    start, and the next one is tried on another.
    """
    known: Sequence[Mapping[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = sorted((node for node in known if node["Alive"]), key=lambda node: str(node["NodeID"]))
    return NodeAffinitySchedulingStrategy(nodes[number % len(nodes)]["NodeID"], soft=False)


def _use_token() -> None:
    """Ray enables its token for a local cluster only; towards an address we must say so."""
    if "RAY_AUTH_MODE" in os.environ:
        return
    has_token = (
        "RAY_AUTH_TOKEN" in os.environ
        or "RAY_AUTH_TOKEN_PATH" in os.environ
        or (pathlib.Path.home() / ".ray" / "auth_token").exists()
    )
    if has_token:
        os.environ["RAY_AUTH_MODE"] = "token"
