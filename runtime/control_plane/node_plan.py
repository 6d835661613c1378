"""The node plan: which node gets the next process, and which hosts should be elsewhere. Pure.

A node's state decides what it gets:

    state         the next host              the next standby           its hosts
    open          fewest hosts for its CPUs  fewest standbys, then so   stay
    suspect       only where none is open    the same                   stay
    draining      never                      never                      move to another node
    no CPUs       never                      never                      stay (someone asked for it)
    released      never                      never                      end, as they are empty
    not alive     never                      never                      their death is noticed

A node is suspect from the moment at which its hosts stopped answering, or a process did not start
there, until one of its processes answers, or for `SUSPECT_S`: the cluster takes a lost node for
alive meanwhile. It is new for `SETTLE_S`, and takes no hosts by itself so long.

With hosts that follow the cluster (`AutoHosts`) the plan also changes their number. One step at a
time leads to: as many hosts as the nodes have room for, within the limits, each node with its
share. Hosts with actors never end for that, they move at most.

Invariants: equal nodes give equal plans; a plan that was carried out asks for nothing more; no
step puts a host on a node that is not open; no step ends a host that has actors.
"""

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from callboard.messages.control.hosts import AutoHosts
from callboard.messages.control.nodes import NO_DEADLINE, Node

__all__ = [
    "SETTLE_S",
    "SHRINK_S",
    "SUSPECT_S",
    "Add",
    "HostPlace",
    "Move",
    "NodeBook",
    "Place",
    "Remove",
    "Step",
    "choose_node",
    "choose_standby",
    "steps",
]

SUSPECT_S: Final = 75.0
"""Longer than Ray takes a lost node for alive: 12 to 65 s were measured."""
SETTLE_S: Final = 4.0
"""How long a new node must have been there before hosts come to it by themselves."""
SHRINK_S: Final = 30.0
"""How long there must be too many hosts before empty ones end: a node may be on its way."""


@dataclass(frozen=True, slots=True)
class Place:
    """A node, and what the root knows about it."""

    node: Node
    hosts: int = 0
    """Hosts that run or start there."""
    standbys: int = 0
    is_suspect: bool = False
    is_new: bool = False
    is_released: bool = False

    @property
    def takes_hosts(self) -> bool:
        """Whether a process may be started there."""
        node = self.node
        return node.is_alive and node.room > 0 and not node.is_draining and not self.is_released

    @property
    def is_open(self) -> bool:
        """Whether it takes hosts, and there is no doubt about it."""
        return self.takes_hosts and not self.is_suspect


@dataclass(frozen=True, slots=True)
class HostPlace:
    """Where one host runs."""

    slot: int
    node: str
    """The id of its node; empty where it is not known."""
    is_empty: bool = False
    """Whether it runs no top-level actor."""
    is_fixed: bool = False
    """Whether its own resources say where it runs, so that it only moves off a draining node."""


class Add(NamedTuple):
    """Start one more host on a node."""

    node: str


class Remove(NamedTuple):
    """End an empty host."""

    slot: int


class Move(NamedTuple):
    """Stop a host in order, and let a process on another node take its slot over."""

    slot: int
    node: str = ""
    """The other node; empty where the resources of the host choose it."""
    within_s: float = NO_DEADLINE
    """The time for it."""


Step = Add | Remove | Move


def _by_load(place: Place) -> tuple[bool, float, int, str]:
    return (
        place.is_suspect,
        (place.hosts + 1) / place.node.cpus,
        place.standbys,
        place.node.id,
    )


def _by_standbys(place: Place) -> tuple[bool, int, float, str]:
    return (
        place.is_suspect,
        place.standbys,
        (place.hosts + place.standbys + 1) / place.node.cpus,
        place.node.id,
    )


def choose_node(places: Iterable[Place], *, is_standby: bool = False) -> Node | None:
    """The node for the next host or standby; None when no node takes one."""
    takers = [place for place in places if place.takes_hosts]
    best = min(takers, key=_by_standbys if is_standby else _by_load, default=None)
    return None if best is None else best.node


def choose_standby(
    places: Iterable[Place], spares: Sequence[tuple[str, bool]]
) -> tuple[int, bool] | None:
    """The standby that becomes the next host, and whether it is the best that can be done.

    `spares` are the node of each standby (empty where it is not known), and whether it has loaded
    its code. Without "the best", a new process on an open node is better. None without standbys.
    """
    known = {place.node.id: place for place in places}

    def rank(number: int) -> tuple[bool, bool, float]:
        node, is_warm = spares[number]
        place = known.get(node)
        load = math.inf if node else 0.0
        if place is not None and place.node.cpus:
            load = (place.hosts + 1) / place.node.cpus
        return _is_doubtful(place, node, known), not is_warm, load

    if not spares:
        return None
    best = min(range(len(spares)), key=rank)
    is_best = not rank(best)[0] or not any(place.is_open for place in known.values())
    return best, is_best


def _is_doubtful(place: Place | None, node: str, known: Mapping[str, Place]) -> bool:
    """Whether a process there may not live long enough; one of an unknown node is trusted."""
    if place is None:
        return bool(node) and bool(known)
    return place.is_suspect or place.node.is_draining or not place.node.is_alive


# --- the hosts as a whole ------------------------------------------------------------------------


def steps(
    places: Sequence[Place],
    hosts: Sequence[HostPlace],
    limits: AutoHosts | None = None,
    *,
    may_shrink: bool = False,
) -> list[Step]:
    """The next steps towards the plan; none when it is reached.

    Without `limits` the number of hosts stays, and hosts only leave draining nodes. `may_shrink`
    says that there have been too many hosts for long enough.
    """
    known = {place.node.id: place for place in places}
    shared = [host for host in hosts if not host.is_fixed]
    room = sum(place.node.room for place in places if place.takes_hosts)
    wanted = len(shared) if limits is None else limits.count_for(room)
    ending = _to_end(shared, known, wanted, may_shrink=may_shrink) if limits is not None else []
    gone = {step.slot for step in ending}
    found: list[Step] = [*ending, *_off_draining(hosts, known, gone)]
    if found or limits is None:
        return found
    missing = wanted - len(shared)
    if missing > 0:
        return _additions(places, missing, limits.at_least - len(shared))
    return _for_balance(places, shared)


def _additions(places: Sequence[Place], missing: int, needed: int) -> list[Step]:
    """The hosts that start now, at most `missing`: where there is room, or if they are `needed`."""
    nodes = {p.node.id: p for p in places if p.is_open and not p.is_new}
    found: list[Step] = []
    while len(found) < missing:
        roomy = [p for p in nodes.values() if p.hosts < p.node.room]
        node = choose_node(roomy or (nodes.values() if len(found) < needed else ()))
        if node is None:
            break
        found.append(Add(node.id))
        nodes[node.id] = replace(nodes[node.id], hosts=nodes[node.id].hosts + 1)
    return found


def _to_end(
    hosts: Sequence[HostPlace], known: Mapping[str, Place], wanted: int, *, may_shrink: bool
) -> list[Remove]:
    """The empty hosts that end: on released and draining nodes, and where there are too many."""
    count, ending = len(hosts), list[Remove]()

    def leaves(host: HostPlace) -> bool:
        place = known.get(host.node)
        return place is not None and (place.is_released or place.node.is_draining)

    def excess(host: HostPlace) -> float:
        place = known.get(host.node)
        if place is None or not place.node.cpus:
            return 0.0
        return place.hosts / place.node.cpus

    empty = sorted(
        (host for host in hosts if host.is_empty),
        key=lambda host: (not leaves(host), -excess(host), -host.slot),
    )
    for host in empty:
        if count > wanted and (leaves(host) or may_shrink):
            ending.append(Remove(host.slot))
            count -= 1
    return ending


def _off_draining(
    hosts: Sequence[HostPlace], known: Mapping[str, Place], gone: set[int]
) -> list[Move]:
    """The hosts that leave draining nodes, as soon as another node can take them."""
    takers = {node: place for node, place in known.items() if place.takes_hosts}
    moves = []
    for host in hosts:
        place = known.get(host.node)
        within_s = None if place is None else place.node.drains_in_s
        if within_s is None or host.slot in gone:
            continue
        node = None if host.is_fixed else choose_node(takers.values())
        if node is not None:
            takers[node.id] = replace(takers[node.id], hosts=takers[node.id].hosts + 1)
        if node is not None or host.is_fixed:
            moves.append(Move(host.slot, "" if node is None else node.id, within_s))
    return moves


def _for_balance(places: Sequence[Place], hosts: Sequence[HostPlace]) -> list[Step]:
    """The move of one host from a node with too many to one with too few."""
    share = _shares(places, len(hosts))
    there = Counter(host.node for host in hosts)
    short = [
        replace(place, hosts=there[place.node.id])
        for place in places
        if place.is_open and not place.is_new and there[place.node.id] < share[place.node.id]
    ]
    over = [host for host in hosts if host.node in share and there[host.node] > share[host.node]]
    target = choose_node(short)
    if target is None or not over:
        return []
    best = min(
        over,
        key=lambda host: (not host.is_empty, share[host.node] - there[host.node], -host.slot),
    )
    return [Move(best.slot, target.id)]


def _shares(places: Sequence[Place], count: int) -> dict[str, int]:
    """The number of hosts that each node should have, of `count`."""
    share = {place.node.id: 0 for place in places if place.node.is_alive}
    heap = [
        (1 / place.node.cpus, place.node.id, place.node.cpus)
        for place in places
        if place.takes_hosts
    ]
    heapq.heapify(heap)
    for _ in range(count if heap else 0):
        _, node, cpus = heap[0]
        share[node] += 1
        heapq.heapreplace(heap, ((share[node] + 1) / cpus, node, cpus))
    return share


# --- what the root remembers of the nodes --------------------------------------------------------


class NodeBook:
    """What the root remembers of the nodes: since when they are there, and what went wrong."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._first_s: dict[str, float] = {}
        self._suspect_s: dict[str, float] = {}
        self._used_s: dict[str, float] = {}
        """When the hosts of a node had actors last."""
        self._released: set[str] = set()
        self._excess_s: float | None = None
        """Since when there are more hosts than there is room for."""

    def seen(self, nodes: Iterable[Node], now: float) -> None:
        """Take over a report of all nodes."""
        is_first = not self._nodes
        self._nodes = {node.id: node for node in nodes if node.is_alive}
        for node in self._nodes:
            # The nodes of the first report are no news.
            self._first_s.setdefault(node, now - SETTLE_S if is_first else now)
        for memory in (self._first_s, self._suspect_s, self._used_s):
            for node in [node for node in memory if node not in self._nodes]:
                del memory[node]
        self._released &= self._nodes.keys()

    def is_there(self, node: str) -> bool:
        """Whether a node is alive, by the last report."""
        return node in self._nodes

    def suspect(self, node: str, now: float) -> None:
        """The hosts of a node have stopped answering, or a process did not start there."""
        if node in self._nodes:
            self._suspect_s[node] = now

    def answered(self, node: str) -> None:
        """A process of a node has answered."""
        self._suspect_s.pop(node, None)

    def places(self, hosts: Counter[str], standbys: Counter[str], now: float) -> list[Place]:
        """All living nodes with the processes there."""
        return [
            Place(
                node,
                hosts[node.id],
                standbys[node.id],
                is_suspect=now < self._suspect_s.get(node.id, -SUSPECT_S) + SUSPECT_S,
                is_new=now < self._first_s[node.id] + SETTLE_S,
                is_released=node.id in self._released,
            )
            for node in self._nodes.values()
        ]

    def may_shrink(self, hosts: int, room: int, now: float) -> bool:
        """Whether there have been more hosts than there is room for since `SHRINK_S`."""
        if hosts <= room:
            self._excess_s = None
            return False
        if self._excess_s is None:
            self._excess_s = now
        return now >= self._excess_s + SHRINK_S

    def release(self, hosts: Sequence[HostPlace], limits: AutoHosts, now: float) -> None:
        """Release nodes whose hosts have been empty for `limits.idle_s`, and take others back.

        A host keeps the cluster from removing its node. The emptiest nodes are released, as long
        as another node with an empty host stays; all are taken back when there is none.
        """
        if limits.idle_s is None:
            return
        empty = Counter(host.node for host in hosts if host.is_empty)
        used = {host.node for host in hosts if not host.is_empty}
        self._released -= used
        for node in self._nodes:
            if node in used or node not in self._used_s:
                self._used_s[node] = now
        ready = [n for n in empty if n not in self._released and n in self._nodes]
        if not ready:
            self._released.clear()
            return
        left = len(hosts) - sum(empty[node] for node in self._released)
        idle = [node for node in ready if node not in used]
        idle.sort(key=lambda node: (self._used_s[node], node))
        for node in idle:
            is_idle = now >= self._used_s[node] + limits.idle_s
            if is_idle and len(ready) > 1 and left - empty[node] >= limits.at_least:
                self._released.add(node)
                ready.remove(node)
                left -= empty[node]
