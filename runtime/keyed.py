"""What a driver sends to the root to have keyed actors: one keeper for each host."""

from collections.abc import Sequence
from typing import Any

from callboard.actors.host.warden import Birth
from callboard.actors.keyed.actor import check_keyed
from callboard.actors.keyed.keeper import Keepership, KeyedPlan
from callboard.messages.errors import SpecError
from callboard.messages.placement import Placement
from callboard.messages.ports import Pickler
from callboard.messages.ref import Ref
from callboard.messages.routing import keyed_by
from callboard.messages.spawning import Offer, SpawnPart
from callboard.messages.spec import Restart
from callboard.messages.stores import ActorStore, KeyedStore

from .births import part_of

__all__ = ["keepers_of", "store_of"]


def store_of(store: "KeyedStore | Ref[Any] | None") -> KeyedStore | None:
    """The store itself, or the way to the actor that is one."""
    return ActorStore(store) if isinstance(store, Ref) else store


def keepers_of(
    pickler: Pickler, hosts: Sequence[int], plan: KeyedPlan
) -> tuple[tuple[SpawnPart, ...], list[Offer]]:
    """The keepers and what they offer; raises `SpecError` for a wrong plan."""
    behaviour = check_keyed(plan.actor)
    for field in ("idle_s", "active_max", "memory_bytes_max", "save_every", "save_after_s"):
        value = getattr(plan, field)
        if value is not None and not value > 0:
            raise SpecError(f"{field} is {value!r}.", advice="It is over 0.", field=field)
    routing = keyed_by(plan.actor.key).to_text()
    if not hosts:
        raise SpecError("keyed actors without a host.", advice="All hosts have ended.")
    contracts = tuple(row.contract.contract_name for row in behaviour.handlers.values())
    birth: Birth = (Keepership, (plan,), None, plan.kind, Restart.PERMANENT, None, 0)
    parts = tuple(part_of(pickler, [birth], Placement(host)) for host in hosts)
    offers = [
        Offer(part=number, contracts=contracts, routing=routing) for number in range(len(parts))
    ]
    return parts, offers
