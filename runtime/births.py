"""What a driver asks of the root to have actors and trees started, pickled for their hosts.

The outermost supervisor of a tree is part 0, with all that runs on its host. Each placed child is
a part of its own, with a lodge for it to run in; see `actors/tree/envoy.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from callboard.actors.actor import Actor, Behaviour, behaviour_of
from callboard.actors.host.warden import Birth
from callboard.actors.tree.lodging import LodgeBirth
from callboard.actors.tree.spec import (
    ActorSpec,
    Node,
    Part,
    TreeSpec,
    check_ships,
    parts_of,
    walk,
    without_placed,
)
from callboard.messages.errors import SpecError, error_from_data
from callboard.messages.hosts import NAME_CHARS_MAX, HostSpec
from callboard.messages.placement import ANYWHERE, Placement, Resources
from callboard.messages.ports import Pickler
from callboard.messages.ref import Address
from callboard.messages.spawning import Offer, Spawn, Spawned, SpawnPart
from callboard.messages.spec import STOP_TIMEOUT_DEFAULT, Restart, StopTimeout

__all__ = [
    "START_BATCH",
    "contracts_of",
    "part_of",
    "places_in",
    "raise_first",
    "spawn_of",
]

STOP_GRACE_S: Final = 1.0
START_BATCH: Final = 1_000
"""Top-level actors started by one message: decoding and starting overlap."""


def part_of(
    pickler: Pickler,
    births: Sequence[Birth | TreeSpec | LodgeBirth],
    placement: Placement,
    *,
    numbers_each: int = 1,
) -> SpawnPart:
    """Births that go to one host; raises `SpecError` when they cannot be pickled."""
    try:
        packed = pickler.dumps(list(births))
        code = pickler.dumps(tuple(dict.fromkeys(_classes(births))))
    except Exception as error:
        raise SpecError(
            f"{_title(births[0])} cannot be sent to a host: {error!r}.",
            advice="Its class and constructor arguments must be picklable: open files, locks "
            "and connections are made in the constructor or in `started`.",
        ) from error
    return SpawnPart(
        births=packed,
        code=code,
        count=len(births),
        numbers_each=numbers_each,
        placement=placement.to_data(),
        host=None if placement.isolated is None else _own_host(births[0], placement.isolated),
    )


def contracts_of(behaviour: Behaviour) -> tuple[str, ...]:
    """The names of the contracts that an actor handles, by which it is found."""
    return tuple(row.contract.contract_name for row in behaviour.handlers.values())


def raise_first(started: Spawned) -> None:
    """Raise the first failure among what was to start, if there is one."""
    for data in started.failures.values():
        raise error_from_data(data)


def _title(birth: Birth | TreeSpec | LodgeBirth) -> str:
    match birth:
        case TreeSpec():
            return birth.name
        case LodgeBirth():
            return birth.node.name
        case _:
            return birth[0].__qualname__


def _classes(births: Sequence[Birth | TreeSpec | LodgeBirth]) -> Iterator[type[Actor]]:
    for birth in births:
        if isinstance(birth, TreeSpec):
            yield from _classes_of(birth)
        elif isinstance(birth, LodgeBirth):
            yield from _classes_of(birth.node)
        else:
            yield birth[0]


def _classes_of(node: Node) -> Iterator[type[Actor]]:
    if isinstance(node, ActorSpec):
        yield node.actor
        return
    for child in node.children:
        if isinstance(child, ActorSpec | TreeSpec):
            yield from _classes_of(child)


def _own_host(birth: Birth | TreeSpec | LodgeBirth, resources: Resources) -> dict[str, Any]:
    """The host of an isolated actor: named, restarted and stopped as the actor itself."""
    if isinstance(birth, TreeSpec | LodgeBirth):
        node = birth if isinstance(birth, TreeSpec) else birth.node
        name, restart, stop_timeout = node.name, node.restart, node.stop_timeout
    else:
        actor, _, _, given, restart, limit, _ = birth
        name, stop_timeout = given or actor.__name__, limit or STOP_TIMEOUT_DEFAULT
    if not stop_timeout.is_brutal:
        # Its actor keeps to its own limit; the host is killed when it does not come to that.
        stop_timeout = StopTimeout(stop_timeout.seconds + STOP_GRACE_S)
    return HostSpec(
        name[:NAME_CHARS_MAX], resources=resources, restart=restart, stop_timeout=stop_timeout
    ).to_data()


# --- trees ----------------------------------------------------------------------------------------


def spawn_of(pickler: Pickler, tree: TreeSpec) -> Spawn:
    """What the root is asked for to start a tree. Raises `SpecError` that names the place."""
    if not isinstance(tree, TreeSpec):
        raise SpecError(f"{tree!r} is no tree.", advice="Give a TreeSpec.", field="tree")
    check_ships(tree, pickler)
    nodes: dict[str | None, Node] = dict(walk(tree))
    shipped: list[SpawnPart] = []
    offers: list[Offer] = []
    for number, part in enumerate(parts_of(tree)):
        shipped.append(_shipped(pickler, tree, part, is_lodge=number > 0))
        for offset, path in enumerate(part.paths, start=_first(number)):
            node = nodes.get(path)
            if isinstance(node, ActorSpec) and (node.offer or node.register):
                offers.append(_offer(number, offset, node))
    return Spawn(parts=tuple(shipped), offers=tuple(offers), all_or_none=len(shipped) > 1)


def places_in(tree: TreeSpec, started: Spawned) -> Mapping[str, Address]:
    """Where each node of a tree is, by its path."""
    return {
        path: Address(slot, first + offset)
        for number, (part, (slot, first)) in enumerate(
            zip(parts_of(tree), started.parts, strict=True)
        )
        for offset, path in enumerate(part.paths, start=_first(number))
        if path is not None
    }


def _first(number: int) -> int:
    """The offset of a part's first node: before a placed one there is its lodge."""
    return 1 if number else 0


def _shipped(pickler: Pickler, tree: TreeSpec, part: Part, *, is_lodge: bool) -> SpawnPart:
    wanted = ANYWHERE if part.node.placement is None else part.node.placement
    node = without_placed(part.node)
    if not is_lodge:
        assert isinstance(node, TreeSpec), "whoever starts a tree begins with a supervisor"
        shipped = part_of(pickler, [node], wanted, numbers_each=len(part.paths))
        return shipped.model_copy(update={"lodges": tuple(part.below)})
    above = f"{tree.name}/{part.path}".rpartition("/")[0]
    birth = LodgeBirth(node, above)
    shipped = part_of(pickler, [birth], wanted, numbers_each=len(part.paths) + 1)
    return shipped.model_copy(
        update={
            "lodges": tuple(part.below),
            "is_lodge": True,
            "field": f"{part.place}.placement",
            "host": None if shipped.host is None else _lasting(shipped.host),
        }
    )


def _lasting(host: Mapping[str, Any]) -> dict[str, Any]:
    """The host of an isolated child: as long as its tree may start it, it is there."""
    spec = HostSpec.from_data(dict(host))
    return HostSpec(
        spec.name,
        resources=spec.resources,
        restart=Restart.PERMANENT,
        stop_timeout=spec.stop_timeout,
    ).to_data()


def _offer(part: int, offset: int, node: ActorSpec) -> Offer:
    behaviour = behaviour_of(node.actor)
    return Offer(
        part=part,
        offset=offset,
        contracts=contracts_of(behaviour) if node.offer else (),
        name=node.name if node.register else None,
        size=behaviour.concurrency * (node.size or 1),
    )
