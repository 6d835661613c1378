"""The wiring of a host: makes a host with its adapters."""

import asyncio
import hashlib
import io
import operator
import pickle  # noqa: TID251 - code and constructor arguments, never messages
import platform
import sys
import types
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Final

import cloudpickle

from callboard.actors.kernel.actor import forget_behaviours
from callboard.actors.kernel.cell import Cell
from callboard.actors.kernel.host.extension import Extension, MakeExtension
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.host.watchdog import Watchdog
from callboard.actors.kernel.inspection.meters import no_vitals
from callboard.actors.kernel.ports import RoleHost
from callboard.actors.kernel.tracing import Tracing
from callboard.actors.keyed.extension import KeyHandover
from callboard.actors.metrics.recording.extension import Recorder
from callboard.actors.metrics.recording.meter import HostMeter
from callboard.actors.metrics.recording.sink import MeterSink
from callboard.actors.pools.cell import PoolRecipe, Pools
from callboard.actors.streaming.publisher import EventQueue, StreamPublisher
from callboard.actors.trees.extension import Trees
from callboard.messages.control.control_plane import CONTROL_SLOT, is_driver_slot
from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import SupervisorSpec
from callboard.messages.core.errors import ClusterError
from callboard.messages.core.ref import Address, Ref
from callboard.messages.ports import (
    ChildRunner,
    LargeValueStore,
    MetricSink,
    Pickler,
    SupervisorPort,
)

from ..admin.extension import AdminExtension
from ..telemetry.exposition.figures import HostFigures
from ..telemetry.exposition.place import Place
from ..telemetry.logs.extension import HostLogs
from ..telemetry.metrics import Publisher, Sinks
from ..telemetry.names import METRICS, exposed_name
from ..telemetry.tracing.extension import HostSpans, make_spans
from ..telemetry.vitals import process_vitals
from ..transport.tcp import ports_of
from .environment import REAL, Environment
from .inventory import SHIP_ADVICE, Inventory
from .settings import Settings

__all__ = [
    "EXTENSIONS",
    "CloudPickler",
    "HostClock",
    "RefPickler",
    "RefUnpickler",
    "make_host",
    "pickles_of",
]


METRICS_DELAY_S: Final = 1.0
EXTENSIONS: Final = (Pools, Trees, KeyHandover, Inventory, AdminExtension, HostLogs)
"""The extensions that every host has."""


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


CLASSES: Final = b"C"
"""The first byte of a pickle whose classes come before it; a plain pickle begins with 0x80."""
SIZE_BYTES: Final = 4
CODES_MAX: Final = 256
"""The pickles of classes that one host keeps loaded."""


def _travels_by_value(cls: type) -> bool:
    """Whether other processes cannot import a class, as those of a driver's `__main__`."""
    module = cls.__module__
    if module == "__main__" or _is_registered(module):
        return True
    try:
        found = operator.attrgetter(cls.__qualname__)(sys.modules[module])
    except (AttributeError, KeyError):
        return True
    return found is not cls


def _is_registered(module: str) -> bool:
    """Whether a user has registered a module with cloudpickle, for its classes to go by value."""
    registered = cloudpickle.list_registry_pickle_by_value()
    return any(module == each or module.startswith(f"{each}.") for each in registered)


class RefPickler(cloudpickle.Pickler):  # type: ignore[misc] # untyped
    """Writes references as addresses, without the host that they are bound to.

    With `classes` it puts the classes that travel by value in there, and writes their places.
    """

    dispatch_table: ClassVar = cloudpickle.Pickler.dispatch_table.new_child(
        {types.CodeType: _reduce_code}
    )

    def __init__(self, file: io.BytesIO, classes: dict[type, int] | None = None) -> None:
        super().__init__(file)
        self._classes = classes

    def persistent_id(self, value: Any) -> Any:
        """An address, or the place of a class; None for a value that is pickled itself."""
        if type(value) is Ref:
            return tuple(value.address)
        classes = self._classes
        if classes is not None and isinstance(value, type) and _travels_by_value(value):
            return classes.setdefault(value, len(classes))
        return None


class RefUnpickler(pickle.Unpickler):
    """Binds references to the host that reads them, and finds classes by their places."""

    def __init__(
        self,
        file: io.BytesIO,
        bind: Callable[[Address], Ref[Any]],
        classes: tuple[type, ...] = (),
    ) -> None:
        super().__init__(file)
        self._bind = bind
        self._classes = classes

    def persistent_load(self, found: Any) -> Any:
        """The reference to an address, or the class of a place."""
        return self._classes[found] if type(found) is int else self._bind(Address(*found))


class CloudPickler:
    """Pickles actor classes, also those of a driver's `__main__`, and constructor arguments.

    `bind` binds a reference in the pickle to this host. Classes that travel by value are a pickle
    of their own, which a host loads once: loading it again would give each class new methods, so
    that each start of an actor would leave the old ones behind.
    """

    def __init__(
        self, bind: Callable[[Address], Ref[Any]], node: Callable[[], str] = platform.node
    ) -> None:
        self._bind = bind
        self._node = node
        self._codes: OrderedDict[bytes, tuple[type, ...]] = OrderedDict()

    def dumps(self, value: Any) -> bytes:
        """Pickle a value; classes that other processes cannot import are pickled by value."""
        classes: dict[type, int] = {}
        body = _pickled(value, classes)
        if not classes:
            return body
        code = _pickled(tuple(classes), None)
        return CLASSES + len(code).to_bytes(SIZE_BYTES, "big") + code + body

    def loads(self, data: bytes) -> Any:
        """Unpickle a value. Raises `ClusterError` for a module that this node does not have."""
        *code, body = pickles_of(data)
        try:
            classes = self._load(code[0]) if code else ()
            return RefUnpickler(io.BytesIO(body), self._bind, classes).load()
        except ImportError as error:
            raise ClusterError(
                f"node {self._node()} cannot load what was sent to it: {error}.",
                advice=SHIP_ADVICE,
            ) from error

    def _load(self, code: bytes) -> tuple[type, ...]:
        digest = hashlib.blake2b(code, digest_size=16).digest()
        classes = self._codes.get(digest)
        if classes is None:
            classes = self._codes[digest] = RefUnpickler(io.BytesIO(code), self._bind).load()
            forget_behaviours()  # A class that was known already has other methods now.
            if len(self._codes) > CODES_MAX:
                self._codes.popitem(last=False)
        else:
            self._codes.move_to_end(digest)
        return classes


def pickles_of(data: bytes) -> tuple[bytes, ...]:
    """The plain pickles in what `CloudPickler` gives: of the classes, if any, and of the value."""
    if data[:1] != CLASSES:
        return (data,)
    begin = len(CLASSES) + SIZE_BYTES
    end = begin + int.from_bytes(data[len(CLASSES) : begin], "big")
    return data[begin:end], data[end:]


def _pickled(value: Any, classes: dict[type, int] | None) -> bytes:
    file = io.BytesIO()
    RefPickler(file, classes).dump(value)
    return file.getvalue()


class HostClock:
    """A `Clock` that reads an event loop's time."""

    __slots__ = ("now",)

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now


def _trees(host: RoleHost[Cell]) -> Extension:
    return Trees(host, PoolRecipe)


READY_MADE: Final[tuple[MakeExtension, ...]] = (
    Pools, _trees, KeyHandover, AdminExtension, HostLogs,
)  # fmt: skip
"""Those of them that need nothing but the host."""


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

    def inventory(_: RoleHost[Cell]) -> Extension:
        return Inventory(environment.node)

    recording = settings.recording
    meter = HostMeter(environment.wall_time, *(() if recording is None else (recording.limits,)))

    def recorder(host: RoleHost[Cell]) -> Extension:
        # Of two incarnations no two have the same name, whatever becomes of numbers and clocks.
        once = environment.new_id()[:12] if recording is not None else ""
        source = f"{settings.name}/{slot}/{epoch}/{once}"
        wall_time, instance = environment.wall_time, _label_of(slot, name)
        return Recorder(host, meter, name=source, instance=instance, wall_time=wall_time)

    events = EventQueue(environment.wall_time, environment.new_id)

    def publisher(host: RoleHost[Cell]) -> Extension:
        return StreamPublisher(host, events)

    tracing, traced = _tracing_of(settings, environment, slot=slot, epoch=epoch, host=name)
    make_pickler: Callable[[Callable[[Address], Ref[Any]]], Pickler] = (
        environment.make_pickler or partial(CloudPickler, node=environment.node)
    )
    host: Host = Host(
        slot=slot,
        epoch=epoch,
        name=name,
        make_supervisor=make_supervisor,
        large_values=large_values,
        pickler=make_pickler(lambda address: host.ref(address)),  # noqa: PLW0108 - made later
        limits=settings.limits,
        ask_timeout_s=settings.ask_timeout_s,
        on_failed=on_failed,
        extensions=(*READY_MADE, inventory, recorder, publisher, *traced),
        vitals=process_vitals if environment.is_real else no_vitals,
        meter=meter,
        publishing=events,
        tracing=tracing,
    )
    if tracing is not None:
        host.extension(HostSpans).begin(host)
    figures = _figures_for(settings, environment)
    if figures is not None:
        meter.on_example = figures.remember
    if recording is not None or figures is not None:
        taps = () if figures is None else (figures.record_columns,)
        host.extension(Recorder).begin(recording, taps=taps)
    watchdog = Watchdog(host, settings.blocked_s, shares_loop=settings.engine == "inline")
    if environment.is_real:
        host.extension(HostLogs).begin()
        watchdog.start()
        has_sink = environment.make_metrics is not None or recording is not None
        if has_sink and settings.metrics_s:
            host.run_task(_publish(host, settings, environment, figures))
    return host, watchdog


def _tracing_of(
    settings: Settings, environment: Environment, *, slot: int, epoch: int, host: str
) -> tuple[Tracing | None, tuple[MakeExtension, ...]]:
    """The recorder of spans and its extension; none without traces."""
    if settings.traces is None or not environment.is_real:
        return None, ()
    spans = make_spans(settings.traces, system=settings.name, slot=slot, epoch=epoch, host=host)
    return (None, ()) if spans is None else (spans[0], (spans[1],))


def _figures_for(settings: Settings, environment: Environment) -> HostFigures | None:
    """What the host shows at the endpoint of its node; None without one."""
    has_endpoint = environment.is_real and environment.metrics_group is not None
    if not has_endpoint or not settings.metrics_s or ports_of(settings.metrics_ports) is None:
        return None
    return HostFigures()


def _label_of(slot: int, name: str) -> str:
    """The host's name in labels: that of each attached driver is its own, and has no place there.

    Names without bound must not become labels.
    """
    return "attached-driver" if is_driver_slot(slot) else name


async def _publish(
    host: Host, settings: Settings, environment: Environment, figures: HostFigures | None
) -> None:
    """Publish the host's metrics, after a delay: a host that takes over has more urgent work."""
    await asyncio.sleep(min(METRICS_DELAY_S, settings.metrics_s))
    sinks: list[MetricSink] = []
    if environment.make_metrics is not None:
        sinks.append(environment.make_metrics(settings.name, _label_of(host.slot, host.name)))
    if settings.recording is not None:
        sinks.append(MeterSink(host.meter, exposed_name, lambda name: METRICS[name].label))
    if figures is not None:
        host.run_task(_show(host, settings, environment, figures))
        sinks.append(figures)
    Publisher(host, Sinks(sinks), settings.metrics_s).start()


async def _show(
    host: Host, settings: Settings, environment: Environment, figures: HostFigures
) -> None:
    """Take part in the endpoint of this node."""
    from ..telemetry.exposition.member import NodeMember  # As late as can be.
    from ..telemetry.node_points import NodeSource

    ports = ports_of(settings.metrics_ports)
    assert environment.metrics_group is not None
    assert ports is not None
    member = NodeMember(
        Place.of(settings.name, environment.metrics_group(settings.name, settings.detached)),
        figures,
        system=settings.name,
        host=_label_of(host.slot, host.name),
        address=settings.metrics_address,
        ports=ports,
        is_driver=host.slot == CONTROL_SLOT or is_driver_slot(host.slot),
        is_control=host.slot == CONTROL_SLOT,
    )
    if settings.recording is not None:
        node = await asyncio.to_thread(environment.node)
        host.extension(Recorder).add_source(NodeSource(node, lambda: member.is_serving))
    await member.run()
