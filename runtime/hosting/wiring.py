"""The wiring of a host: makes a host with its adapters."""

import asyncio
import io
import pickle  # noqa: TID251 - code and constructor arguments, never messages
import types
from collections.abc import Callable
from typing import Any, ClassVar, Final

import cloudpickle

from callboard.actors.kernel.cell import Cell
from callboard.actors.kernel.host.extension import Extension
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.host.watchdog import Watchdog
from callboard.actors.kernel.inspection.meters import no_vitals
from callboard.actors.kernel.ports import RoleHost
from callboard.actors.pools.cell import PoolRecipe, Pools
from callboard.actors.trees.extension import Trees
from callboard.messages.control.control_plane import is_driver_slot
from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import SupervisorSpec
from callboard.messages.core.ref import Address, Ref
from callboard.messages.ports import ChildRunner, LargeValueStore, MetricSink, SupervisorPort

from ..telemetry.metrics import Publisher
from ..telemetry.vitals import process_vitals
from .environment import REAL, Environment
from .settings import Settings

__all__ = ["EXTENSIONS", "CloudPickler", "HostClock", "RefPickler", "RefUnpickler", "make_host"]


METRICS_DELAY_S: Final = 1.0
EXTENSIONS: Final = (Pools, Trees)
"""The extensions that every host has. Keyed actors need none: they have their recipe."""


DYNAMIC: Final = "<dynamic-code>"
"""The file name that cloudpickle, from release 3.1.3, gives to every class of a `__main__`."""


def _reduce_code(code: types.CodeType) -> tuple[Any, ...]:
    """Reduce code like cloudpickle, but keep the file name: remote tracebacks need it."""
    make, arguments = cloudpickle.Pickler.dispatch_table[types.CodeType](code)
    named = (
        code.co_filename if isinstance(given, str) and given == DYNAMIC else given
        for given in arguments
    )
    return make, tuple(named)


class RefPickler(cloudpickle.Pickler):  # type: ignore[misc] # untyped
    """Writes references as addresses, without the host that they are bound to."""

    dispatch_table: ClassVar = cloudpickle.Pickler.dispatch_table.new_child(
        {types.CodeType: _reduce_code}
    )

    def persistent_id(self, value: Any) -> Any:
        """The address of a reference; None for a value that is pickled itself."""
        return tuple(value.address) if type(value) is Ref else None


class RefUnpickler(pickle.Unpickler):
    """Binds references to the host that reads them."""

    def __init__(self, file: io.BytesIO, bind: Callable[[Address], Ref[Any]]) -> None:
        super().__init__(file)
        self._bind = bind

    def persistent_load(self, address: Any) -> Any:
        """The reference to an address."""
        return self._bind(Address(*address))


class CloudPickler:
    """Pickles actor classes, also those of a driver's `__main__`, and constructor arguments.

    `bind` binds a reference in the pickle to this host.
    """

    def __init__(self, bind: Callable[[Address], Ref[Any]]) -> None:
        self._bind = bind

    def dumps(self, value: Any) -> bytes:
        """Pickle a value; classes that other processes cannot import are pickled by value."""
        file = io.BytesIO()
        RefPickler(file).dump(value)
        return file.getvalue()

    def loads(self, data: bytes) -> Any:
        """Unpickle a value."""
        return RefUnpickler(io.BytesIO(data), self._bind).load()


class HostClock:
    """A `Clock` that reads an event loop's time."""

    __slots__ = ("now",)

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now


def _trees(host: RoleHost[Cell]) -> Extension:
    return Trees(host, PoolRecipe)


def make_host(
    *,
    slot: int,
    epoch: int,
    name: str,
    settings: Settings,
    large_values: LargeValueStore,
    on_failed: Callable[[Exit], None] | None = None,
    environment: Environment = REAL,
) -> tuple[Host, Watchdog]:
    """Make a host on the running event loop; its watchdog runs in a real environment only."""
    clock = HostClock(asyncio.get_running_loop().time)

    def make_supervisor(spec: SupervisorSpec, runner: ChildRunner) -> SupervisorPort:
        return environment.make_supervisor(spec, runner, clock, environment.random)

    make_pickler = environment.make_pickler or CloudPickler
    host = Host(
        slot=slot,
        epoch=epoch,
        name=name,
        make_supervisor=make_supervisor,
        large_values=large_values,
        pickler=make_pickler(lambda address: host.ref(address)),  # noqa: PLW0108 - made later
        limits=settings.limits,
        ask_timeout_s=settings.ask_timeout_s,
        on_failed=on_failed,
        extensions=(Pools, _trees),
        vitals=process_vitals if environment.is_real else no_vitals,
    )
    watchdog = Watchdog(host, settings.blocked_s, shares_loop=settings.engine == "inline")
    if environment.is_real:
        watchdog.start()
        if environment.make_metrics is not None and settings.metrics_s:
            host.run_task(_publish(host, settings, environment.make_metrics))
    return host, watchdog


async def _publish(
    host: Host, settings: Settings, make_metrics: Callable[[str, str], MetricSink]
) -> None:
    """Publish the host's metrics, after a delay: a host that takes over has more urgent work."""
    await asyncio.sleep(min(METRICS_DELAY_S, settings.metrics_s))
    # Each attached driver has a name of its own; names without bound must not become labels.
    label = "attached-driver" if is_driver_slot(host.slot) else host.name
    Publisher(host, make_metrics(settings.name, label), settings.metrics_s).start()
