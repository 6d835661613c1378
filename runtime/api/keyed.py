"""Keyed actors for a driver: the spawn request, and the handle on all actors of one kind."""

from collections.abc import Sequence
from typing import Any, Final, TypeVar, final

from callboard.actors.kernel.actor import Actor, behaviour_of
from callboard.actors.kernel.directory.routing import Load
from callboard.actors.kernel.host.extension import RecipeStart
from callboard.actors.keyed.activation import KeyedPlan
from callboard.actors.keyed.actor import check_keyed, contract_offered
from callboard.actors.keyed.region import KeyedRecipe
from callboard.messages.control.placement import Placement
from callboard.messages.control.routing import SHARES_MAX, keyed_by
from callboard.messages.control.spawning import Offer, SpawnPart
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import SpecError, UsageError
from callboard.messages.core.ref import Address, Ref
from callboard.messages.ports import Pickler
from callboard.messages.storage.keyed_stores import ActorStore, KeyedStore

from ..control_plane.spawn_requests import contracts_of, part_of
from .group import Group
from .spawner import DriverSpawner

__all__ = ["KeyedActors", "parts_for", "store_of"]

STOPS_MAX: Final = 3
ActorT_co = TypeVar("ActorT_co", bound=Actor, covariant=True)


def store_of(store: "KeyedStore | Ref[Any] | None") -> KeyedStore | None:
    """The store itself; a reference to a `StoreActor` becomes a store that asks it."""
    return ActorStore(store) if isinstance(store, Ref) else store


def parts_for(
    pickler: Pickler, hosts: Sequence[int], plan: KeyedPlan
) -> tuple[tuple[SpawnPart, ...], list[Offer]]:
    """The spawn request's part for each host, and its offers. Raises `SpecError`."""
    behaviour = check_keyed(plan.actor)
    for field in ("idle_s", "active_max", "memory_bytes_max", "save_every", "save_after_s"):
        value = getattr(plan, field)
        if value is not None and not value > 0:
            raise SpecError(f"{field} is {value!r}.", advice="Give a value over 0.", field=field)
    if not 0 <= plan.shares <= SHARES_MAX:
        raise SpecError(
            f"shares is {plan.shares!r}.", advice=f"Give 0 to {SHARES_MAX}.", field="shares"
        )
    routing = keyed_by(plan.actor.key, plan.shares).to_text()
    if not hosts:
        raise SpecError(
            "there is no host for keyed actors: all hosts have ended.",
            advice="Start a new system.",
        )
    region = RecipeStart(KeyedRecipe(plan))
    spreads = {"spreads": plan.shares > 0}
    parts = tuple(
        part_of(pickler, [region], Placement(host)).model_copy(update=spreads) for host in hosts
    )
    offers = [
        Offer(part=number, contracts=contracts_of(behaviour), routing=routing)
        for number in range(len(parts))
    ]
    return parts, offers


@final
class KeyedActors(Group[ActorT_co]):
    """The keyed actors of one class, for the driver that declared them by `System.keyed`.

        async with await system.keyed(Account, store=store) as accounts:
            print(await accounts.ask(Balance(account="7")))

    A message activates the actor of its key. Other actors and drivers reach them by the contracts
    that they handle. `async with` stops them at the end.
    """

    def __init__(
        self, spawner: DriverSpawner, actor: type[Actor], refs: Sequence[Ref[Any]]
    ) -> None:
        """Use `System.keyed`, which calls this."""
        super().__init__(spawner)
        self._actor = actor
        self._refs = tuple(refs)

    def __repr__(self) -> str:
        return f"<KeyedActors {self._actor.__qualname__}>"

    @property
    def refs(self) -> tuple[Ref[ActorT_co], ...]:
        """One reference for each host, to the key region there."""
        contract = contract_offered(behaviour_of(self._actor))
        host = self._spawner.host
        if host.directory.shares(contract) is None:
            return self._refs
        return tuple(map(host.ref, host.directory.offers(contract)))

    async def stop(self) -> None:
        """Save and stop all actors, and wait. The store keeps their states."""
        for _ in range(STOPS_MAX):
            await super().stop()
            if not self._is_left():
                break  # Otherwise a host has come meanwhile.

    def _is_left(self) -> bool:
        contract = contract_offered(behaviour_of(self._actor))
        return self._spawner.host.directory.shares(contract) is not None

    def _choose(self, message: Contract) -> Address | Load:
        behaviour = behaviour_of(self._actor)
        if type(message) not in behaviour.handlers and behaviour.find(type(message)) is None:
            raise UsageError(
                f"{self._actor.__qualname__} has no handler for {type(message).contract_name}.",
                advice="Send it a contract that it handles.",
            )
        directory = self._spawner.host.directory
        return directory.address_for(message)
