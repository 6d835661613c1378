"""Hosts as data: the processes of a system, their order, resources and supervision.

    Settings(hosts=(HostSpec("store"), HostSpec("gpu", count=2, resources=Resources(gpus=1))))

Hosts start in the order of their specs and stop in reverse order. A spec describes one
kind of host; `Settings.host_supervision` describes the supervision of all of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, NoReturn, Self, final

from ..core.errors import SpecError
from ..core.names import check_name
from ..core.timeouts import TIMEOUT_S_MAX
from .placement import Resources
from .spec import Restart, StopTimeout

__all__ = [
    "HOSTS_MAX",
    "NAME_CHARS_MAX",
    "AutoHosts",
    "BlockedLoop",
    "HeartbeatAnswer",
    "HostSpec",
    "ProcessOrder",
    "host_specs",
]

HOSTS_MAX: Final = 4_096
NAME_CHARS_MAX: Final = 100


def _refuse(name: str, problem: str, advice: str) -> NoReturn:
    raise SpecError(f"{name} {problem}.", advice=advice, field=name)


@final
@dataclass(frozen=True, slots=True)
class HostSpec:
    """One host, or `count` hosts that differ only in their number.

    Raises `SpecError` for a field out of its range.
    """

    name: str
    """The name in `Placement(host=...)` and `callboard tree`. With a count over 1, a number
    follows: `gpu-1`, `gpu-2`."""
    count: int = 1
    """How many such hosts there are."""
    resources: Resources | None = None
    """The resources that Ray reserves for its process. None reserves nothing, and a standby
    may take the host's place."""
    restart: Restart = Restart.PERMANENT
    """Whether it comes back when it has ended."""
    stop_timeout: StopTimeout = StopTimeout.INFINITY
    """How long the host may take to stop. If infinite, the timeouts of its actors decide, and
    the host is killed only when its event loop stops answering."""
    significant: bool = False
    """Whether the end of this host can end the system; see `AutoShutdown`."""

    def __post_init__(self) -> None:
        check_name(
            "HostSpec.name is", self.name, bytes_max=4 * NAME_CHARS_MAX, field="HostSpec.name"
        )
        if type(self.count) is not int or not 1 <= self.count <= HOSTS_MAX:
            _refuse("HostSpec.count", f"is {self.count!r}", f"It must be from 1 to {HOSTS_MAX}.")
        for name, kind, wanted in (
            ("resources", Resources | None, "a Resources, or None"),
            ("restart", Restart, "a Restart"),
            ("stop_timeout", StopTimeout, "a StopTimeout"),
            ("significant", bool, "a bool"),
        ):
            value = getattr(self, name)
            if not isinstance(value, kind):
                _refuse(f"HostSpec.{name}", f"is {value!r}", f"It must be {wanted}.")
        if self.significant and self.restart is Restart.PERMANENT:
            _refuse(
                "HostSpec.significant",
                f"is set, but {self.name!r} is permanent and never ends by itself",
                "Make it transient or temporary.",
            )

    def names(self) -> Iterator[str]:
        """The name of each of its hosts."""
        if self.count == 1:
            yield self.name
        else:
            yield from (f"{self.name}-{number}" for number in range(1, self.count + 1))

    def to_data(self) -> dict[str, Any]:
        """This spec as plain data that any codec can carry."""
        return {
            "name": self.name,
            "count": self.count,
            "resources": None if self.resources is None else self.resources.to_data(),
            "restart": self.restart.value,
            "stop_timeout_s": self.stop_timeout.seconds,
            "significant": self.significant,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """The spec that `data` describes. Raises `SpecError`."""
        resources = data.get("resources")
        return cls(
            data["name"],
            data["count"],
            None if resources is None else Resources.from_data(resources),
            Restart(data["restart"]),
            StopTimeout(data["stop_timeout_s"]),
            data["significant"],
        )


@final
@dataclass(frozen=True, slots=True)
class AutoHosts:
    """Hosts that follow the cluster: one for each CPU of the nodes that it has at the time.

    Raises `SpecError` for a field out of its range.
    """

    at_least: int = 1
    """The fewest hosts; nodes get more than they have CPUs if need be."""
    at_most: int = HOSTS_MAX
    """The most hosts."""
    idle_s: float | None = None
    """After how many seconds a node whose hosts have no actors is given back: its hosts end, and
    Ray's autoscaler can remove it. One node with empty hosts stays. None keeps all nodes."""

    def __post_init__(self) -> None:
        for name in ("at_least", "at_most"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= HOSTS_MAX:
                _refuse(f"AutoHosts.{name}", f"is {value!r}", f"It must be from 1 to {HOSTS_MAX}.")
        if self.at_least > self.at_most:
            _refuse("AutoHosts.at_least", f"is over at_most ({self.at_most})", "Swap the two.")
        idle_s = self.idle_s
        is_number = isinstance(idle_s, int | float) and not isinstance(idle_s, bool)
        if idle_s is not None and not (is_number and 0 < idle_s <= TIMEOUT_S_MAX):
            _refuse("AutoHosts.idle_s", f"is {idle_s!r}", "Give seconds over 0, or None.")

    def count_for(self, room: int) -> int:
        """The number of hosts for nodes that have room for `room`."""
        return min(max(room, self.at_least), self.at_most)


def host_specs(hosts: int | Sequence[HostSpec]) -> tuple[HostSpec, ...]:
    """One spec for each host, in start order; a number means `host-1`, `host-2` and so on.

    Raises `SpecError` for no hosts, too many hosts, and two hosts of one name.
    """
    specs = (
        tuple(HostSpec(f"host-{number}") for number in range(1, hosts + 1))
        if isinstance(hosts, int)
        else tuple(
            HostSpec(
                name,
                resources=spec.resources,
                restart=spec.restart,
                stop_timeout=spec.stop_timeout,
                significant=spec.significant,
            )
            for spec in hosts
            for name in spec.names()
        )
    )
    if not 1 <= len(specs) <= HOSTS_MAX:
        _refuse("hosts", f"are {len(specs)}", f"Give 1 to {HOSTS_MAX} hosts.")
    names: dict[str, None] = {}
    for spec in specs:
        if spec.name in names:
            _refuse("hosts", f"have two named {spec.name!r}", "Give each host its own name.")
        names[spec.name] = None
    return specs


@final
@dataclass(frozen=True, slots=True)
class ProcessOrder:
    """The root's requirements for a process with resources of its own."""

    name: str
    """The name in Ray's dashboard; the engine puts the system before and a number behind."""
    resources: Resources
    on_waiting: Callable[[str], None]
    """Called with what the process waits for, at each change; empty when it waits no more."""


class BlockedLoop(NamedTuple):
    """The event loop of a host that does not run, because some code on it does not return."""

    who: str
    """The path of the actor; for code outside actors, what it is."""
    doing: str
    """What it does, as `is handling a bank.deposit`."""
    seconds: float
    stack: str
    """The end of the stack of the loop's thread, as text."""

    @property
    def text(self) -> str:
        """Who blocks it, and how, for people."""
        return f"{self.who} {self.doing}"


class HeartbeatAnswer(NamedTuple):
    """The answer of a process to one heartbeat."""

    process_id: int
    stamp_s: float
    """The time of its own clock at this answer; the next heartbeat brings it back."""
    blocked: BlockedLoop | None
    """What blocks its event loop, if something does."""
