"""Trees as they are shipped: one birth with a number for each node, and what is found of it."""

from callboard.actors.actor import behaviour_of
from callboard.actors.tree.spec import ActorSpec, TreeSpec, check_ships, places
from callboard.messages.errors import SpecError
from callboard.messages.placement import ANYWHERE
from callboard.messages.ports import Pickler
from callboard.messages.spawning import Offer, Spawn

from .births import part_of

__all__ = ["spawn_of"]


def spawn_of(pickler: Pickler, tree: TreeSpec) -> Spawn:
    """What the root is asked for to start a tree. Raises `SpecError` that names the place."""
    if not isinstance(tree, TreeSpec):
        raise SpecError(f"{tree!r} is no tree.", advice="Give a TreeSpec.", field="tree")
    check_ships(tree, pickler)
    offers: list[Offer] = []
    nodes = list(places(tree.name, tree, 1))
    for offset, (place, node, _) in enumerate(nodes):
        if offset and node.placement is not None:
            raise SpecError(
                f"{place}.placement is set, but a tree runs on one host.",
                advice="Start what belongs elsewhere as a tree of its own.",
                field=f"{place}.placement",
            )
        if isinstance(node, ActorSpec) and (node.offer or node.register):
            behaviour = behaviour_of(node.actor)
            contracts = [row.contract.contract_name for row in behaviour.handlers.values()]
            offers.append(
                Offer(
                    part=0,
                    offset=offset,
                    contracts=tuple(contracts) if node.offer else (),
                    name=node.name if node.register else None,
                    size=behaviour.concurrency * (node.size or 1),
                )
            )
    wanted = ANYWHERE if tree.placement is None else tree.placement
    part = part_of(pickler, [tree], wanted, numbers_each=len(nodes))
    return Spawn(parts=(part,), offers=tuple(offers))
