"""Spawn requests for trees: one part for each host, and its offers.

Part 0 is the outermost supervisor with everything on its host. Each placed child is a part of its
own and runs in a holder; see `actors/trees/remote/proxy.py`.
"""

from collections.abc import Mapping
from typing import Any

from callboard.actors.kernel.actor import behaviour_of
from callboard.actors.trees.extension import RemoteChildEntry, TreeStart
from callboard.actors.trees.spec import (
    ActorSpec,
    Node,
    Part,
    TreeSpec,
    check_ships,
    parts_of,
    walk,
    without_placed,
)
from callboard.messages.control.hosts import HostSpec
from callboard.messages.control.placement import ANYWHERE
from callboard.messages.control.spawning import Offer, Spawn, Spawned, SpawnPart
from callboard.messages.control.spec import Restart
from callboard.messages.core.errors import SpecError
from callboard.messages.core.ref import Address
from callboard.messages.ports import Pickler

from .spawn_requests import part_of

__all__ = ["places_in", "spawn_of"]


def spawn_of(pickler: Pickler, tree: TreeSpec) -> Spawn:
    """The request that starts a tree. Raises `SpecError` that names the place in the tree."""
    if not isinstance(tree, TreeSpec):
        raise SpecError(f"{tree!r} is not a tree.", advice="Give a TreeSpec.", field="tree")
    check_ships(tree, pickler)
    nodes: dict[str | None, Node] = dict(walk(tree))
    shipped: list[SpawnPart] = []
    offers: list[Offer] = []
    for number, part in enumerate(parts_of(tree)):
        shipped.append(_shipped(pickler, tree, part, is_remote_child_holder=number > 0))
        for offset, path in enumerate(part.paths, start=_first(number)):
            node = nodes.get(path)
            if isinstance(node, ActorSpec) and (node.offer or node.register):
                offers.append(_offer(number, offset, node))
    return Spawn(parts=tuple(shipped), offers=tuple(offers), all_or_none=len(shipped) > 1)


def places_in(tree: TreeSpec, started: Spawned) -> Mapping[str, Address]:
    """The address of each node of a tree, by its path."""
    return {
        path: Address(slot, first + offset)
        for number, (part, (slot, first)) in enumerate(
            zip(parts_of(tree), started.parts, strict=True)
        )
        for offset, path in enumerate(part.paths, start=_first(number))
        if path is not None
    }


def _first(number: int) -> int:
    """The offset of a part's first node; the holder of a placed child comes first."""
    return 1 if number else 0


def _shipped(
    pickler: Pickler, tree: TreeSpec, part: Part, *, is_remote_child_holder: bool
) -> SpawnPart:
    wanted = ANYWHERE if part.node.placement is None else part.node.placement
    node = without_placed(part.node)
    if not is_remote_child_holder:
        assert isinstance(node, TreeSpec), "the root of a tree is a supervisor"
        shipped = part_of(pickler, [TreeStart(node)], wanted, numbers_each=len(part.paths))
        return shipped.model_copy(update={"holders": tuple(part.below)})
    above = f"{tree.name}/{part.path}".rpartition("/")[0]
    entry = RemoteChildEntry(node, above)
    shipped = part_of(pickler, [entry], wanted, numbers_each=len(part.paths) + 1)
    return shipped.model_copy(
        update={
            "holders": tuple(part.below),
            "is_remote_child_holder": True,
            "field": f"{part.place}.placement",
            "host": None if shipped.host is None else _detached(shipped.host),
        }
    )


def _detached(host: Mapping[str, Any]) -> dict[str, Any]:
    """The host of an isolated child; it stays up as long as its tree may start the child."""
    spec = HostSpec.from_data(dict(host))
    return HostSpec(
        spec.name,
        resources=spec.resources,
        restart=Restart.PERMANENT,
        stop_timeout=spec.stop_timeout,
    ).to_data()


def _offer(part: int, offset: int, node: ActorSpec) -> Offer:
    behaviour = behaviour_of(node.props.actor)
    contracts = [row.contract.contract_name for row in behaviour.handlers.values()]
    return Offer(
        part=part,
        offset=offset,
        contracts=tuple(contracts) if node.offer else (),
        name=node.name if node.register else None,
        size=behaviour.concurrency * (node.size or 1),
    )
