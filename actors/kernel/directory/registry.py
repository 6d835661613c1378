"""The directory: the address of each name, and the actors that offer each contract.

The root has the original and sends each change to all hosts; every host has a copy. A route
is chosen from the copy, so an ask without an address costs no extra hop.

A change names only what has changed, and the version that it applies to. A copy of another version
does not take it, and its host asks for the whole.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from callboard.messages.control.control_plane import DirectoryPatched
from callboard.messages.control.routing import ROUTING_DEFAULT, Routing, RoutingKind
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError, NoAgentOffers
from callboard.messages.core.module_names import near_match
from callboard.messages.core.ref import Address, not_a_message

from ..asks import AskOwner
from .routing import Load, Router, Shares, router_of

__all__ = ["Directory", "address_of"]

ItemT = TypeVar("ItemT")
Place = tuple[int, int]
"""The slot and the cell of an address, in a message."""


class Directory:
    """A host's copy of all names and offers."""

    __slots__ = (
        "_loads",
        "_names",
        "_offers",
        "_on_changed",
        "_owner",
        "_routers",
        "_routings",
        "_sizes",
        "hosts",
        "version",
    )

    def __init__(self, owner: AskOwner, on_changed: Callable[[], None]) -> None:
        self._owner = owner
        """The host, the owner of the asks that a `Load` counts."""
        self._on_changed = on_changed
        """Called after each change."""
        self._names: dict[str, Address] = {}
        self._offers: dict[str, Sequence[Address]] = {}
        self._sizes: dict[Address, int] = {}
        self._routings: dict[str, str] = {}
        self._routers: dict[str, Router] = {}
        self._loads: dict[Address, Load] = {}
        self.hosts: Sequence[int] = ()
        """The slots of all hosts that take actors of any kind, whether they run or not."""
        self.version = 0
        """It grows with each change; an older copy never replaces a newer one."""

    def replace(
        self,
        version: int,
        names: Mapping[str, Address],
        offers: Mapping[str, Sequence[Address]],
        sizes: Mapping[Address, int],
        hosts: Sequence[int] = (),
        routings: Mapping[str, str] | None = None,
    ) -> None:
        """Take over a newer copy."""
        if version > self.version:
            self.version = version
            self._names = dict(names)
            before, self._offers = (
                self._offers,
                {name: tuple(places) for name, places in offers.items()},
            )
            self._sizes = dict(sizes)
            self._renew_routers(before, dict(routings or {}))
            self.hosts = tuple(hosts)
            self._on_changed()

    def patch(self, change: DirectoryPatched) -> None:
        """Take over the changes since the version that this copy has."""
        assert change.base == self.version, "ask for the whole directory"
        self.version = change.version
        for name in change.names_gone:
            self._names.pop(name, None)
        self._names.update({name: Address(*where) for name, where in change.names.items()})
        for text in change.sizes_gone:
            address = address_of(text)
            self._sizes.pop(address, None)
            self._loads.pop(address, None)
        for text, size in change.sizes.items():
            address = address_of(text)
            self._sizes[address] = size
            if address in self._loads:
                self._loads[address].resize(size)
        for name in change.routings_gone:
            self._routings.pop(name, None)
        self._routings.update(change.routings)
        for name in (*change.routings, *change.routings_gone):
            self._routers.pop(name, None)
        for name in {**change.withdrawn, **change.offered}:
            self._patch_offers(name, change.withdrawn.get(name, ()), change.offered.get(name, ()))
        if change.hosts or change.hosts_gone:
            gone = frozenset(change.hosts_gone)
            self.hosts = (*(host for host in self.hosts if host not in gone), *change.hosts)
        self._on_changed()

    def _patch_offers(
        self, name: str, withdrawn: Sequence[Place], offered: Sequence[Place]
    ) -> None:
        gone = frozenset(withdrawn)
        left = (address for address in self._offers.get(name, ()) if address not in gone)
        offers = (*left, *(Address(*place) for place in offered))
        self._routers.pop(name, None)
        if offers:
            self._offers[name] = offers
        else:
            self._offers.pop(name, None)

    def changes_to(
        self,
        version: int,
        names: Mapping[str, Address | None],
        offers: Mapping[str, Sequence[Address]],
        sizes: Mapping[Address, int],
        routings: Mapping[str, str | None],
        hosts: Sequence[int],
        *,
        places: Mapping[int, int],
        places_gone: Sequence[int],
        newest_slot: int,
    ) -> DirectoryPatched:
        """The changes that make this copy `version`.

        `names`, `offers`, `sizes` and `routings` have at least all entries that have changed, with
        None, no address, or 0 for those that are gone. `hosts` are all hosts.
        """
        pairs = {
            name: _difference(self._offers.get(name, ()), after) for name, after in offers.items()
        }
        hosts_gone, hosts_new = _difference(self.hosts, hosts)
        return DirectoryPatched(
            base=self.version,
            version=version,
            names={name: (at.slot, at.cell) for name, at in names.items() if at is not None},
            names_gone=tuple(name for name, at in names.items() if at is None),
            withdrawn={name: _places(gone) for name, (gone, _) in pairs.items() if gone},
            offered={name: _places(new) for name, (_, new) in pairs.items() if new},
            sizes={str(where): size for where, size in sizes.items() if size},
            sizes_gone=tuple(str(where) for where, size in sizes.items() if not size),
            routings={name: text for name, text in routings.items() if text is not None},
            routings_gone=tuple(name for name, text in routings.items() if text is None),
            hosts_gone=hosts_gone,
            hosts=hosts_new,
            places=dict(places),
            places_gone=tuple(places_gone),
            newest_slot=newest_slot,
        )

    def find(self, name: str) -> Address | None:
        """The address of the actor with that name."""
        return self._names.get(name)

    def name_of(self, address: Address) -> str | None:
        """A name of the actor at that address, if it has one."""
        return next((name for name, place in self._names.items() if place == address), None)

    def offers(self, contract_name: str) -> Sequence[Address]:
        """The addresses of the actors that offer that contract."""
        return self._offers.get(contract_name, ())

    def size_of(self, address: Address) -> int:
        """How many agents serve an offer."""
        return self._sizes.get(address, 1)

    def route(self, message: Contract) -> Any:
        """The route of a message: an address, or a `Load` that owns the ask; or an error."""
        try:
            name = type(message).contract_name
        except AttributeError:
            return not_a_message(message)
        router = self._routers.get(name)
        if router is None:
            router = self._made_router(name)
            if router is None:
                return no_agent_offers(name, self._offers)
        try:
            return router.choose(message)
        except CallboardError as error:
            return error

    def shares(self, contract_name: str) -> Shares | None:
        """The shares of the keyed actors that offer that contract; None for others."""
        router = self._routers.get(contract_name) or self._made_router(contract_name)
        return router if type(router) is Shares else None

    def address_for(self, message: Contract) -> Address:
        """The address for a message without a reply; raises `NoAgentOffers`."""
        chosen = self.route(message)
        if isinstance(chosen, CallboardError):
            raise chosen
        address: Address = chosen.address if type(chosen) is Load else chosen
        return address

    def _made_router(self, name: str) -> Router | None:
        addresses = self._offers.get(name)
        if not addresses:
            return None
        router = self._routers[name] = self._router(name, addresses)
        return router

    def _router(self, name: str, addresses: Sequence[Address]) -> Router:
        text = self._routings.get(name)
        routing = ROUTING_DEFAULT if text is None else Routing.from_text(text)
        is_counted = routing.kind is RoutingKind.LEAST_LOADED
        for address in addresses if is_counted else ():
            self._loads.setdefault(address, Load(address, self.size_of(address), self._owner))
        return router_of(routing, addresses, self._loads)

    def _renew_routers(
        self, before: Mapping[str, Sequence[Address]], routings: dict[str, str]
    ) -> None:
        # A router with unchanged offers keeps its turn.
        for name in list(self._routers):
            same = self._offers.get(name) == before.get(name)
            if not same or routings.get(name) != self._routings.get(name):
                del self._routers[name]
        self._routings = routings
        for address in [address for address in self._loads if address not in self._sizes]:
            del self._loads[address]
        for address, load in self._loads.items():
            load.resize(self._sizes[address])


def address_of(text: str) -> Address:
    """The address that a directory writes as `slot/cell`."""
    slot, _, cell = text.partition("/")
    return Address(int(slot), int(cell))


def _difference(
    before: Sequence[ItemT], after: Sequence[ItemT]
) -> tuple[tuple[ItemT, ...], tuple[ItemT, ...]]:
    """The items to remove from `before`, and those to append then, to make it `after`."""
    is_before, is_after = frozenset(before), frozenset(after)
    left = tuple(item for item in before if item in is_after)
    new = tuple(item for item in after if item not in is_before)
    if (*left, *new) != tuple(after):  # The order has changed, or an item is there twice.
        return tuple(before), tuple(after)
    return tuple(item for item in before if item not in is_after), new


def _places(addresses: Sequence[Address]) -> tuple[Place, ...]:
    return tuple((address.slot, address.cell) for address in addresses)


def no_agent_offers(contract_name: str, offered: Collection[str] = ()) -> CallboardError:
    """The error for a request that no actor offers; it names an offer that is nearly it."""
    return NoAgentOffers(
        f"no actor offers {contract_name}{near_match(contract_name, offered, 'offered')}.",
        advice="Start a pool of agents that handle it, or ask a reference.",
        may_have_run=False,
    )
