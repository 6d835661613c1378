"""Starts, attaches to, lists and stops detached systems on a Ray cluster."""

import asyncio
import contextlib
import functools
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, Final

import ray
import ray.cloudpickle
import ray.exceptions
import ray.util

from callboard.messages.core.errors import (
    ActorNotFound,
    CallboardError,
    ClusterError,
    NameTaken,
    SpecError,
)
from callboard.messages.core.names import shell_command
from callboard.messages.ports import Ledger

from ...admin.client import AdminClient
from ...control_plane.records import Remembered
from ...detached.attached_driver import AttachedDriver
from ...detached.ports import VISIT_TIMEOUT_S, Stopped
from ...executions.journals import OFF, detached_journal
from ...hosting.environment import Environment
from ...hosting.settings import Settings
from ...stores.choose import path_of
from .engine import RayEngine, end_by_name
from .ledger import RayLedger
from .names import NAMESPACE, check_name, root_name, system_of
from .nodes import node_address
from .process_start import CALLS_MAX, CONTROL_CALLS_MAX
from .release import this_release
from .release_check import RAISED, SAME_RELEASE, check_release, why_not_started
from .root_actor import RootActor
from .root_client import RayRootClient

__all__ = [
    "admin_client",
    "cluster_address",
    "enter",
    "list_leftovers",
    "list_systems",
    "stop_system",
    "visit",
]

cloudpickle: Final[Any] = ray.cloudpickle
"""Untyped in Ray."""
ADMIN_TIMEOUT_S: Final = 10.0
RETRY_S: Final = 0.1
EXECUTION_SERVICE_ENTRIES: Final = "/execution-service"
"""The suffix of the execution service's ledger; the system's entries include it."""
GONE_POLL_S: Final = 0.02
GONE_TIMEOUT_S: Final = 10.0
"""How long Ray may take to end killed processes."""
ROOT_OVERHEAD_S: Final = 5.0
"""How long the root may take beyond the stop timeout of its actors."""
HERE: Final = frozenset({"ray_local", "local"})


def cluster_address(address: str | None) -> str | None:
    """The address of a cluster that outlives this driver: `address`, or `RAY_ADDRESS`.

    None for a cluster that this driver is connected to already. Raises `SpecError` when there is
    none, or when it would end with this driver.
    """
    found = address or os.environ.get("RAY_ADDRESS", "").strip()
    if found and found not in HERE:
        return found
    if ray.is_initialized() and not _is_embedded():
        return None
    raise SpecError(
        "a detached system needs a cluster that outlives its driver.",
        advice="Start one (on this machine: `ray start --head --block`) and give its address: "
        'address="auto" for a cluster of this machine, or "host:port".',
        field="address",
    )


def _is_embedded() -> bool:
    # Ray has no public way to find out that this process started the cluster.
    node: Any = getattr(ray._private.worker, "_global_node", None)  # noqa: SLF001 - as above
    return node is not None and bool(node.is_head())


async def enter(
    settings: Settings,
    environment: Environment,
    on_failed: Callable[[CallboardError], None],
    *,
    starts: bool,
) -> AttachedDriver:
    """See `Enter`."""
    check_name(settings.name)
    if settings.modules and not starts:
        raise SpecError(
            "a driver that attaches ships no modules: the hosts run already.",
            advice="Give modules to the `start` of the system, or install them on every node.",
            field="modules",
        )
    settings = replace(settings, address=cluster_address(settings.address))
    engine = RayEngine(settings)
    try:
        await engine.start()
        if starts:
            settings = _with_journal(settings)
        root = await (_create(settings) if starts else _find(settings.name))
        their_release, packed = await _answer(root, root.describe.remote, settings)
        check_release(their_release, f"the root of {settings.name!r}", mine_is="this driver")
        theirs: Settings = cloudpickle.loads(packed)
        attached_driver = AttachedDriver(
            f"driver-{os.getpid()}@{socket.gethostname()}",
            replace(theirs, address=settings.address),
            engine,
            environment,
            on_failed,
            RayRootClient(root, settings.name),
            _ledger_of(theirs),
        )
        await attached_driver.start()
    except BaseException:
        await engine.stop()
        raise
    return attached_driver


def _with_journal(settings: Settings) -> Settings:
    """The settings with the journal's path for the execution service, and the journal's node."""
    journal, node = detached_journal(settings, os.environ), settings.journal_node
    if journal != OFF and not node and path_of(journal) is not None:
        node = node_address()
    return replace(settings, journal=journal, journal_node=node)


def _ledger_of(settings: Settings) -> Callable[[], Ledger] | None:
    """The function that makes the ledger of a system's executions; None without a journal."""
    if settings.journal == OFF:
        return None
    return functools.partial(RayLedger, settings.name + EXECUTION_SERVICE_ENTRIES)


async def _answer(root: Any, call: Callable[[], Any], settings: Settings) -> Any:
    """Call the root; wait for a root that is being replaced."""
    try:
        async with asyncio.timeout(settings.start_timeout_s):
            while True:
                try:
                    return await call()
                except ray.exceptions.ActorUnavailableError:
                    await asyncio.sleep(RETRY_S)
    except TimeoutError:
        raise ClusterError(
            f"the root of {settings.name!r} has not answered for {settings.start_timeout_s:g} s.",
            advice="Ray may be moving it to another node: see `ray list actors`.",
        ) from None
    except ray.exceptions.RayError as error:
        raise await _root_failed(root, settings.name, error) from error


async def _root_failed(root: Any, name: str, error: ray.exceptions.RayError) -> CallboardError:
    cause = getattr(error, "cause", None)
    if isinstance(cause, CallboardError):
        return cause
    if isinstance(error, ray.exceptions.ActorDiedError) and RAISED in str(error):
        return await why_not_started(root, f"the root of {name!r}", error)
    return ClusterError(
        f"the root of {name!r} failed: {str(error).strip().splitlines()[-1][:300]}",
        advice=SAME_RELEASE,
    )


async def _create(settings: Settings) -> Any:
    name = settings.name
    remote: Any = ray.remote  # Ray's types do not know `concurrency_groups`.
    actor = remote(concurrency_groups={"control": CONTROL_CALLS_MAX})(RootActor).options(
        name=root_name(name),
        namespace=NAMESPACE,
        lifetime="detached",
        max_restarts=-1,
        max_task_retries=0,
        max_concurrency=CALLS_MAX,
        num_cpus=0,
    )
    try:
        root = actor.remote(settings, f"{name}-{secrets.token_hex(3)}", tuple(this_release()))
    except ValueError:
        raise NameTaken(
            f"a detached system {name!r} runs on this cluster already.",
            advice=f"Attach to it, or stop it: `{shell_command('callboard down', name)}`.",
        ) from None
    try:
        await _answer(root, root.ready.remote, settings)
    except BaseException:
        await asyncio.shield(_end(root, name))
        raise
    return root


async def _find(name: str) -> Any:
    try:
        return await asyncio.to_thread(ray.get_actor, root_name(name), NAMESPACE)
    except ValueError:
        others = ", ".join(await list_systems()) or "none"
        raise ActorNotFound(
            f"no detached system {name!r} runs on this cluster.",
            advice=f"Detached systems on this cluster: {others}.",
            may_have_run=False,
        ) from None


@contextlib.asynccontextmanager
async def visit(
    address: str | None = None, *, start_timeout_s: float = VISIT_TIMEOUT_S
) -> AsyncIterator[None]:
    """Connect to a cluster for the functions below; the end of `async with` disconnects.

    Raises `SpecError` without an address, and `ClusterUnreachable` when no cluster answers
    within `start_timeout_s`.
    """
    settings = Settings(address=cluster_address(address), start_timeout_s=start_timeout_s)
    engine = RayEngine(settings)
    try:
        await engine.start()
        yield
    finally:
        await engine.stop()


async def admin_client(name: str) -> AdminClient:
    """A client of a system's admin API, over Ray calls to its root.

    A call waits for a root that is being replaced. Raises `ActorNotFound`.
    """
    root = await _find(name)

    async def exchange(line: bytes) -> bytes:
        while True:
            try:
                answer: bytes = await root.admin.remote(line)
            except ray.exceptions.ActorUnavailableError:
                await asyncio.sleep(RETRY_S)
            except ray.exceptions.RayError as error:
                raise await _root_failed(root, name, error) from error
            else:
                return answer

    return AdminClient(exchange, ADMIN_TIMEOUT_S)


async def list_systems() -> list[str]:
    """The names of all detached systems of the connected cluster."""
    rows = await asyncio.to_thread(ray.util.list_named_actors, all_namespaces=True)
    names = [system_of(row["name"]) for row in rows if row["namespace"] == NAMESPACE]
    return sorted(name for name in names if name is not None)


async def list_leftovers() -> list[str]:
    """The detached systems whose root is dead for good, and that left ledger entries.

    Their hosts may live: Ray never ends a detached actor. `stop_system` clears up.
    """
    known = await RayLedger.systems()  # First, so that a starting system does not look dead.
    living = await list_systems()
    return [name for name in known if name not in living]


async def stop_system(name: str, timeout_s: float) -> Stopped:
    """Stop a detached system: its actors in order, within `timeout_s`, then its processes.

    A root that does not answer is killed with all its hosts, and so are the hosts of a dead root.
    Raises `ActorNotFound` when there is no such system.
    """
    try:
        root = await _find(name)
    except ActorNotFound:
        if name not in await list_leftovers():
            raise
        await _clear_up(name)
        return Stopped(name, in_order=False)
    in_order = True
    try:
        async with asyncio.timeout(timeout_s + ROOT_OVERHEAD_S):
            await root.stop.remote(timeout_s)
    except (TimeoutError, ray.exceptions.RayError):
        in_order = False
    await _end(root, name)
    return Stopped(name, in_order)


async def _end(root: Any, name: str) -> None:
    """Kill the root for good, then its processes and records."""
    with contextlib.suppress(ray.exceptions.RayError):
        await asyncio.to_thread(ray.kill, root, no_restart=True)
    await _clear_up(name)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GONE_TIMEOUT_S):
            while name in await list_systems():  # noqa: ASYNC110 - Ray sends no event
                await asyncio.sleep(GONE_POLL_S)


async def _clear_up(name: str) -> None:
    """Kill the processes that a root has left, and erase its records."""
    ledger = RayLedger(name)
    await end_by_name(Remembered.from_entries(await ledger.read()).processes)
    await ledger.erase()
