"""The Ray engine: connects to a cluster, starts processes and finds them again.

Ray restarts no host (`max_restarts=0`). Callboard's supervisors do, because Ray can neither delay
restarts nor count them within a period.
"""

import asyncio
import contextlib
import logging
import math
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import psutil
import ray
import ray.exceptions
import ray.util.client

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.hosts import ProcessOrder
from callboard.messages.control.nodes import Node
from callboard.messages.core.errors import ClusterError, ClusterUnreachable, HostLost, SpecError
from callboard.messages.ports import FrameCarrier, HostProcess, LargeValueStore

from ...control_plane.records import Records
from ...doctor.cluster import CLIENT_ADVICE
from ...hosting.boot_time import boot_time_s
from ...hosting.memory import GcPause, tune_heap
from ...hosting.settings import Settings
from ...hosting.shipping import checked_modules
from ...transport.process_watch import Identity, identity_of
from ...transport.sockets import SocketAddress
from ...transport.tcp import TcpAddress
from .control_store import ControlStoreWatch
from .dashboard import dashboard_notice
from .embedded import LOOPBACK, AgentWatch, on_loopback
from .frame_sockets import FrameSockets, asked_of
from .large_values import RayLargeValues
from .local_processes import end_processes_of_ray, ray_processes
from .names import NAMESPACE
from .nodes import read_nodes
from .process_handle import RayProcess
from .process_start import check_order, create, taken_now, wait_until_ready
from .proofs import from_mark, until_surely_ended
from .release_check import why_not_started
from .token_file import show_token, use_token

__all__ = ["RayEngine", "RayProcess", "end_by_name"]

LOGGER: Final = logging.getLogger("callboard.ray")
INTERRUPTED_GOODBYE_S: Final = 1.5
"""How long Ray may take to undo an interrupted start."""
ResultT = TypeVar("ResultT")


class RayEngine:
    """Hosts as Ray actors, spread over the nodes of a cluster."""

    name = "ray"
    has_nodes = True

    def __init__(
        self,
        settings: Settings,
        *,
        system: str | None = None,
        control_handle: Any = None,
        records: Records | None = None,
    ) -> None:
        self.settings = settings
        self.control: Host | None = None
        self.control_handle: Final = control_handle
        """The Ray actor of this process, whose hosts outlive it; None in a driver."""
        self._records = records
        """The records of the processes that outlive this one; None in a driver."""
        self._large_values = RayLargeValues()
        self._processes: dict[RayProcess, None] = {}
        self._frames: FrameSockets | None = None
        self._owns_ray = False
        self._address: str | None = None
        """The address of the cluster, once it has answered; None without one."""
        self._shows_token = False
        """Whether the cluster wants a token."""
        self._agent_watch: Final = AgentWatch()
        self._control_store: ControlStoreWatch | None = None
        """None where the control store ends with this process, and in a root that is replaced."""
        self.collector: Final = GcPause()
        """Pauses the collector of this process, which resends messages to restarted actors."""
        self._system = f"{settings.name}-{secrets.token_hex(3)}" if system is None else system

    async def start(self) -> None:
        """Start Ray on this machine, or connect to the cluster at the address.

        Raises `ClusterUnreachable` when no cluster answers within `start_timeout_s`, and within
        2 s when one answers, but this driver cannot join it.
        """
        if ray.is_initialized():
            self._check_connected()
            return  # The program has connected Ray, and disconnects it.
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
                advice="Run `callboard doctor`. Raise start_timeout_s on a slow machine.",
            ) from None
        except ray.exceptions.RuntimeEnvSetupError as error:
            raise ClusterError(
                f"the modules cannot be shipped: {str(error).strip().splitlines()[-1][:300]}",
                advice="Ship less: only packages that the hosts import, without data.",
            ) from error
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
        if settings.modules:
            options["runtime_env"] = {"py_modules": checked_modules(settings.modules)}
        tune_heap()
        if self._address is not None:
            show_token(is_wanted=self._shows_token)
            with contextlib.ExitStack() as stack:
                if self._address.startswith(f"{LOOPBACK}:"):
                    options.update(stack.enter_context(on_loopback()))
                ray.init(**options, address=self._address)
            return
        use_token()
        with on_loopback() as more:
            # "local" never joins another cluster on this machine.
            context: Any = ray.init(
                **options, **more, address="local", include_dashboard=settings.dashboard
            )
        self._agent_watch.start()
        if settings.dashboard:
            sys.stderr.write(f"{dashboard_notice(context.dashboard_url or '')}\n")

    def _check_connected(self) -> None:
        """Raise `SpecError` where the connection of the program does not do."""
        client: Any = ray.util.client.ray  # Untyped in Ray.
        if client.is_connected():
            raise SpecError(
                "this program has connected Ray by Ray Client.",
                advice=CLIENT_ADVICE,
                field="address",
            )
        # The modules of a detached system came with the driver that started it.
        if self.settings.modules and self.control_handle is None:
            raise SpecError(
                "modules cannot be shipped: this program has connected Ray already.",
                advice='Ship them there: ray.init(runtime_env={"py_modules": [...]}). Or let '
                "Callboard connect Ray.",
                field="modules",
            )

    async def _check_address(self, address: str) -> None:
        from .cluster_probe import check_cluster  # gRPC is loaded where an address is used.

        limit_s = self.settings.start_timeout_s
        seen = await _in_daemon_thread(lambda: check_cluster(address, limit_s))
        self._address = str(seen.endpoint)
        self._shows_token = seen.token.wanted

    def attach(self, control: Host) -> None:
        """See `Engine`."""
        self.control = control
        is_embedded = self._owns_ray and self.settings.address is None
        if self.control_handle is None and not is_embedded:
            self._control_store = ControlStoreWatch(boot_time_s)
            self._control_store.start()

    def renews_until_s(self) -> float:
        """See `Engine`."""
        watch = self._control_store
        return math.inf if watch is None else watch.renews_until_s()

    async def socket_address(self) -> SocketAddress | None:
        """The socket for frames from hosts of this process's node."""
        return await self._own_frames().address()

    def frame_address(self) -> TcpAddress | None:
        """Where this process listens for other nodes; it does so from the first call on."""
        return self._own_frames().tcp_address()

    async def carrier_to(
        self, handle: Any, address: SocketAddress | None, by_call: FrameCarrier
    ) -> FrameCarrier:
        """The fastest carrier to a Ray actor."""
        await self.socket_address()
        return self._own_frames().carrier_to(address, by_call, asked_of(handle))

    def _own_frames(self) -> FrameSockets:
        if self._frames is None:
            assert self.control is not None
            instruments = self.control.meters.instruments
            self._frames = FrameSockets(self.control.take, self.settings, instruments)
        return self._frames

    def job(self) -> str:
        """Ray's id of the job of this process."""
        return str(ray.get_runtime_context().get_job_id())

    def identity(self) -> Identity | None:
        """This process, for other processes of its machine."""
        return identity_of(os.getpid())

    @property
    def is_elastic(self) -> bool:
        """Whether Ray's nodes may come and go: not those of an embedded Ray."""
        return self.settings.address is not None or not self._owns_ray

    async def nodes(self) -> Sequence[Node]:
        """Ray's nodes. Raises `ClusterError` when Ray does not answer."""
        try:
            return await _in_daemon_thread(read_nodes)
        except Exception as error:  # whatever Ray raises, the nodes are not known
            raise ClusterError(
                f"Ray does not list its nodes: {str(error).strip()[:300]}", advice="Try again."
            ) from error

    def default_hosts(self) -> int:
        """One host for each CPU of the nodes that stay."""
        living = (node for node in read_nodes() if node.is_alive and not node.is_draining)
        return max(1, sum(node.room for node in living))

    def large_values(self) -> LargeValueStore:
        """Ray's object store."""
        return self._large_values

    async def start_process(
        self,
        number: int,
        order: ProcessOrder | None = None,
        *,
        is_standby: bool = False,
        node: str = "",
    ) -> HostProcess:
        """Start a Ray actor on a node, or where Ray finds the ordered resources."""
        plain = "standby" if is_standby else "host"
        what = plain if order is None else order.name
        name = f"{self._system}-{what}-{number}"
        await check_order(name, order)
        if self._records is not None:
            await self._records.process(name)
        handle = await create(self.settings, name, node, order, self._lifetime())
        process = RayProcess(handle, name, self, node)
        self._processes[process] = None
        limit_s = self.settings.start_timeout_s
        try:
            process.identity = await wait_until_ready(handle, name, order, limit_s)
        except TimeoutError:
            await process.kill()
            why = "" if order is None else await taken_now(order)
            raise ClusterError(
                f"{name} did not start within {limit_s:g} s{f': {why}' if why else ''}.",
                advice="Check that there is memory for one more process; `ray status` and the "
                "dashboard show what Ray waits for.",
            ) from None
        except (ClusterError, asyncio.CancelledError):
            await asyncio.shield(process.kill())
            raise
        except ray.exceptions.RayError as error:
            reason = await why_not_started(handle, name, error)
            await asyncio.shield(process.kill())
            raise reason from error
        process.pid = process.identity.process_id
        await self._hold(process)
        return process

    async def _hold(self, process: RayProcess) -> None:
        """Let a process hold a lease, unless nothing can replace this root, on its machine."""
        is_replaced = self.control_handle is not None
        # A program may have connected Ray to any cluster.
        is_only = not is_replaced and self._owns_ray and self.settings.address is None
        root = None if is_replaced else self.identity()
        try:
            await process.hold(root, is_only=is_only)
        except (HostLost, ray.exceptions.RayError) as error:
            raise ClusterError(f"{process.name} has ended at once: {error}") from error

    def every(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call in a thread."""
        ended = threading.Event()

        def run() -> None:
            at_s = time.monotonic()
            while True:
                at_s = max(at_s + seconds, time.monotonic())
                if ended.wait(at_s - time.monotonic()):
                    return
                try:
                    callback()
                except Exception:  # Without this thread all hosts would end.
                    LOGGER.exception("a heartbeat failed")

        threading.Thread(target=run, name="callboard-heartbeats", daemon=True).start()
        return ended.set

    async def until_ended(self, mark: Sequence[Any]) -> None:
        """See `DetachedEngine`."""
        await until_surely_ended(*from_mark(mark))

    def _lifetime(self) -> dict[str, Any]:
        """Ray's options for the lifetime of its processes: that of this one, or detached."""
        if self.control_handle is None:
            return {}
        return {"lifetime": "detached", "namespace": NAMESPACE}

    async def find(self, name: str) -> RayProcess | None:
        """The process of a detached system with that name; None when it has ended."""
        try:
            handle = await asyncio.to_thread(ray.get_actor, name, NAMESPACE)
        except ValueError:
            return None
        process = RayProcess(handle, name, self)
        if self.control_handle is not None:  # An attached driver ends no process.
            self._processes[process] = None
        return process

    def forget(self, process: RayProcess) -> None:
        """Forget a process before its kill."""
        self._processes.pop(process, None)

    def has_ended(self, process: RayProcess) -> None:
        """Remove the record of a process after its kill."""
        if self._records is not None:
            self._records.process_gone(process.name)

    async def stop(self) -> None:
        """Kill the remaining processes and leave the cluster."""
        self.collector.end()
        if self._control_store is not None:
            self._control_store.stop()
        if self._frames is not None:
            await self._frames.stop()
        if not ray.is_initialized():
            if self._owns_ray:  # The start was interrupted.
                _shut_down(ray_processes(), limit_s=INTERRUPTED_GOODBYE_S)
                self._agent_watch.stop()
            return
        for process in self._processes:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.kill(process.handle, no_restart=True)
        self._processes.clear()
        if self._owns_ray:
            # A joined cluster may also run below this process, and must survive.
            children = ray_processes() if self.settings.address is None else []
            await asyncio.to_thread(_shut_down, children)
            self._agent_watch.stop()


async def end_by_name(names: Iterable[str]) -> None:
    """Kill the processes of a detached system that still live."""
    for name in names:
        with contextlib.suppress(ValueError, ray.exceptions.RayError):
            handle = await asyncio.to_thread(ray.get_actor, name, NAMESPACE)
            await asyncio.to_thread(ray.kill, handle, no_restart=True)


def _shut_down(children: list[psutil.Process], limit_s: float | None = None) -> None:
    # Ray's own shutdown first, while its processes live: its client library ends this process
    # when they are gone.
    goodbye = threading.Thread(target=ray.shutdown, name="callboard-ray-end", daemon=True)
    goodbye.start()
    goodbye.join(limit_s)
    end_processes_of_ray(children)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C interrupt a call that blocks the event loop.

    While asyncio runs a main task, it cancels the task on SIGINT only when the loop runs again;
    Ray's start blocks the loop for seconds.
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
    """Like `asyncio.to_thread`, but a call that never returns does not keep the process alive."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[ResultT] = loop.create_future()

    def settle(call: Callable[[], None]) -> None:
        if not done.done():  # Otherwise the caller was cancelled.
            call()

    def call() -> None:
        try:
            outcome = partial(done.set_result, function())
        except BaseException as error:  # noqa: BLE001 - raised where the future is awaited
            outcome = partial(done.set_exception, error)
        with contextlib.suppress(RuntimeError):  # The loop has been closed meanwhile.
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=call, name="callboard-ray", daemon=True).start()
    return await done
