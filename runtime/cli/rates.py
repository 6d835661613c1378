"""Rates from the counters of two snapshots of a system, and the time between them. Pure.

The time is the observed host's own, so neither network delay nor the clock of this machine
affects a rate. There is no rate between two incarnations of a host.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from callboard.messages.control.views import CallboardView, HostView, LinkView

__all__ = ["ActorRow", "HostRow", "LinkRow", "SystemRows", "Trend"]

RESTARTS_OVER_S: Final = 60.0
SNAPSHOTS_MAX: Final = 600
"""Snapshots kept for the restarts of a minute, at any interval."""


@dataclass(frozen=True, slots=True)
class HostRow:
    """One host. Rates are None until it has two snapshots."""

    name: str
    state: str
    problem: str
    actors: int
    messages_per_s: float | None
    mailbox: int | None
    mailbox_max: int | None
    restarts: int
    restarts_per_min: float | None
    lag_mean_s: float | None
    lag_max_s: float | None
    cpu_percent: float | None
    """Of one processor. Hosts that share a process (the inline engine) share this value."""
    memory_bytes: int
    frames_per_s: float | None
    bytes_per_s: float | None
    pending_asks: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class LinkRow:
    """One link, seen from its host."""

    host: str
    peer: str
    state: str
    frames_out_per_s: float | None
    frames_in_per_s: float | None
    bytes_out_per_s: float | None
    bytes_in_per_s: float | None
    frames_resent: int
    waiting: int


@dataclass(frozen=True, slots=True)
class ActorRow:
    """One of the busiest actors."""

    path: str
    """With its host, as `callboard why` accepts it."""
    kind: str
    messages_per_s: float | None
    mailbox: int
    running: int


@dataclass(frozen=True, slots=True)
class SystemRows:
    """One system."""

    name: str
    standbys: int
    hosts_replaced: int
    hosts: tuple[HostRow, ...]
    links: tuple[LinkRow, ...]
    actors: tuple[ActorRow, ...]
    standby_names: tuple[str, ...] = ()

    def to_data(self) -> dict[str, Any]:
        """The rows for machines."""
        return asdict(self)


class Trend:
    """The snapshots of one system, and the rates between them."""

    def __init__(self) -> None:
        self._snapshots: deque[dict[int, HostView]] = deque(maxlen=SNAPSHOTS_MAX)

    def add(self, view: CallboardView) -> SystemRows:
        """Add a snapshot, and give the current rows."""
        now = {host.slot: host for host in view.hosts}
        before = self._snapshots[-1] if self._snapshots else {}
        self._snapshots.append(now)
        names = {host.slot: host.name for host in view.hosts}
        names |= {driver.slot: driver.name for driver in view.drivers}
        hosts, links, actors = [], [], []
        for host in view.hosts:
            last = _same(host, before.get(host.slot))
            hosts.append(_host_row(host, last, self._oldest(host)))
            old_links = {} if last is None else {link.slot: link for link in last.links}
            links += [
                _link_row(host, last, link, old_links.get(link.slot), names) for link in host.links
            ]
            window_s = host.busiest_window_s
            actors += [
                ActorRow(
                    path=f"{host.name}{actor.path}",
                    kind=actor.kind,
                    messages_per_s=actor.handled / window_s if window_s else None,
                    mailbox=actor.mailbox,
                    running=actor.running,
                )
                for actor in host.busiest
            ]
        return SystemRows(
            view.name,
            view.standbys,
            view.restarts,
            tuple(hosts),
            tuple(links),
            tuple(actors),
            tuple(standby.name for standby in view.standby_processes),
        )

    def _oldest(self, host: HostView) -> HostView | None:
        """The oldest snapshot of the same incarnation within the last minute."""
        for hosts in self._snapshots:
            old = _same(host, hosts.get(host.slot))
            if old is not None and host.at_s - old.at_s <= RESTARTS_OVER_S:
                return old
        return None


def _same(host: HostView, old: HostView | None) -> HostView | None:
    """`old`, if it is an earlier snapshot of the same incarnation of the host."""
    if old is None or old.state != "up" or host.state != "up":
        return None
    return old if old.epoch == host.epoch and old.at_s < host.at_s else None


def _rate(
    host: HostView, old: HostView | None, counter: Callable[[HostView], float]
) -> float | None:
    if old is None:
        return None
    return max(0.0, (counter(host) - counter(old)) / (host.at_s - old.at_s))


def _host_row(host: HostView, last: HostView | None, oldest: HostView | None) -> HostRow:
    per_s = _rate(host, oldest, lambda view: view.restarts)
    cpu = _rate(host, last, lambda view: view.cpu_s)
    return HostRow(
        name=host.name,
        state="stopping" if host.is_stopping else host.state,
        problem=host.problem,
        actors=host.actors,
        messages_per_s=_rate(host, last, lambda view: view.handled),
        mailbox=host.mailbox,
        mailbox_max=host.mailbox_max,
        restarts=host.restarts,
        restarts_per_min=None if per_s is None else per_s * 60.0,
        lag_mean_s=host.lag_mean_s,
        lag_max_s=host.lag_max_s,
        cpu_percent=None if cpu is None else cpu * 100.0,
        memory_bytes=host.memory_bytes,
        frames_per_s=_rate(host, last, _frames),
        bytes_per_s=_rate(host, last, _bytes),
        pending_asks=host.pending_asks,
        dead_letters=sum(host.dead_letters.values()),
    )


def _frames(host: HostView) -> int:
    return sum(link.frames_out + link.frames_in for link in host.links)


def _bytes(host: HostView) -> int:
    return sum(link.bytes_out + link.bytes_in for link in host.links)


def _link_row(
    host: HostView,
    last: HostView | None,
    link: LinkView,
    old: LinkView | None,
    names: dict[int, str],
) -> LinkRow:
    def per_s(counter: Callable[[LinkView], int]) -> float | None:
        if last is None or old is None:
            return None
        return max(0.0, (counter(link) - counter(old)) / (host.at_s - last.at_s))

    return LinkRow(
        host=host.name,
        peer=names.get(link.slot, f"slot {link.slot}"),
        state=link.state,
        frames_out_per_s=per_s(lambda view: view.frames_out),
        frames_in_per_s=per_s(lambda view: view.frames_in),
        bytes_out_per_s=per_s(lambda view: view.bytes_out),
        bytes_in_per_s=per_s(lambda view: view.bytes_in),
        frames_resent=link.frames_resent,
        waiting=link.waiting,
    )
