"""The Ray engine: connecting to a cluster, starting processes, and finding them again.

Ray restarts nothing here (`max_restarts=0`): Callboard's supervisors do, because Ray can
neither delay restarts nor count them within a period.
"""

import asyncio
import contextlib
import importlib
import logging
import os
import pathlib
import secrets
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import psutil
import ray
import ray.exceptions

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.hosts import ProcessOrder
from callboard.messages.core.errors import ClusterError, ClusterUnreachable
from callboard.messages.ports import HostProcess, LargeValueStore

from ...control_plane.records import Records
from ...doctor.network import cluster_error, parse_address
from ...hosting.memory import GcPause, limit_heaps
from ...hosting.settings import Settings
from ...transport.process_watch import Identity, identity_of
from ...transport.sockets import SocketAddress, SocketServer
from .large_values import RayLargeValues
from .local_processes import end_processes_of_ray, ray_processes
from .names import NAMESPACE
from .process_handle import RayProcess
from .process_start import check_order, create, taken_now, wait_until_ready

__all__ = ["RayEngine", "RayProcess", "end_by_name"]

LOGGER: Final = logging.getLogger("callboard.ray")
INTERRUPTED_GOODBYE_S: Final = 1.5
"""How long Ray may take to undo a start that was interrupted."""
ANSWER_DEADLINE_S: Final = 4.0
"""How long a cluster may take to answer at all, before Ray's own client is let near it."""
ResultT = TypeVar("ResultT")


class RayEngine:
    """Hosts as Ray actors, spread over all nodes of a cluster."""

    name = "ray"

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
        """The Ray actor that this is; None in a driver. Its processes outlive it then."""
        self._records = records
        """Where each process is written down that outlives this one."""
        self._large_values = RayLargeValues()
        self._processes: dict[RayProcess, None] = {}
        self._server: SocketServer | None = None
        self._listening: asyncio.Future[SocketAddress | None] | None = None
        self._owns_ray = False
        self.collector: Final = GcPause()
        """Of this process, which sends what has waited for actors that come back."""
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
        limit_heaps()
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

    def job(self) -> str:
        """What Ray calls the job of this process."""
        return str(ray.get_runtime_context().get_job_id())

    def identity(self) -> Identity | None:
        """What process this is, to others of its machine."""
        return identity_of(os.getpid())

    def default_hosts(self) -> int:
        """One for each CPU of the cluster."""
        resources: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return max(1, int(resources.get("CPU", 1)))

    def large_values(self) -> LargeValueStore:
        """Ray's object store."""
        return self._large_values

    async def start_process(self, number: int, order: ProcessOrder | None = None) -> HostProcess:
        """A Ray actor on the node whose turn it is, or where Ray finds what is ordered."""
        what = "host" if order is None else order.name
        name = f"{self._system}-{what}-{number}"
        await check_order(name, order)
        if self._records is not None:
            await self._records.process(name)
        handle = await create(self.settings, name, number, order, self._life())
        process = RayProcess(handle, name, self)
        self._processes[process] = None
        limit_s = self.settings.start_timeout_s
        try:
            process.identity = await wait_until_ready(handle, name, order, limit_s)
        except TimeoutError:
            await process.kill()
            why = "" if order is None else await taken_now(order)
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
        process.pid = process.identity.process_id
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
        """One is to be ended."""
        self._processes.pop(process, None)

    def has_ended(self, process: RayProcess) -> None:
        """One has been ended."""
        if self._records is not None:
            self._records.process_gone(process.name)

    async def stop(self) -> None:
        """Kill what still lives and leave the cluster."""
        self.collector.end()
        if self._server is not None:
            await self._server.stop()
        if not ray.is_initialized():
            if self._owns_ray:  # Its start was interrupted.
                _shut_down(ray_processes(), limit_s=INTERRUPTED_GOODBYE_S)
            return
        for process in self._processes:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.kill(process.handle, no_restart=True)
        self._processes.clear()
        if self._owns_ray:
            # A cluster that is only joined may run below this process all the same.
            children = ray_processes() if self.settings.address is None else []
            await asyncio.to_thread(_shut_down, children)


async def end_by_name(names: Iterable[str]) -> None:
    """End processes of a detached system, as far as they live."""
    for name in names:
        with contextlib.suppress(ValueError, ray.exceptions.RayError):
            handle = await asyncio.to_thread(ray.get_actor, name, NAMESPACE)
            await asyncio.to_thread(ray.kill, handle, no_restart=True)


def _shut_down(children: list[psutil.Process], limit_s: float | None = None) -> None:
    # First its own way, while its processes live: its client library ends this process
    # when it finds them gone.
    goodbye = threading.Thread(target=ray.shutdown, name="callboard-ray-end", daemon=True)
    goodbye.start()
    goodbye.join(limit_s)
    end_processes_of_ray(children)


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
        # Ray reads its environment when it is imported, and again only when it is told to.
        raylet: Any = importlib.import_module("ray._raylet")
        raylet.Config.initialize("")
