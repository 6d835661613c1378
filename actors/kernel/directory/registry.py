"""The directory: the address of each name, and the actors that offer each contract.

The root has the original and sends each change to all hosts; every host has a copy. A route
is chosen from the copy, so an ask without an address costs no extra hop.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from callboard.messages.control.routing import ROUTING_DEFAULT, Routing, RoutingKind
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError, NoAgentOffers
from callboard.messages.core.module_names import near_match
from callboard.messages.core.ref import Address, not_a_message

from ..asks import AskOwner
from .routing import Load, Router, router_of

__all__ = ["Directory"]


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
            addresses = self._offers.get(name)
            if not addresses:
                return no_agent_offers(name, self._offers)
            router = self._routers[name] = self._router(name, addresses)
        try:
            return router.choose(message)
        except CallboardError as error:
            return error

    def address_for(self, message: Contract) -> Address:
        """The address for a message without a reply; raises `NoAgentOffers`."""
        chosen = self.route(message)
        if isinstance(chosen, CallboardError):
            raise chosen
        address: Address = chosen.address if type(chosen) is Load else chosen
        return address

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


def no_agent_offers(contract_name: str, offered: Collection[str] = ()) -> CallboardError:
    """The error for a request that no actor offers; it names an offer that is nearly it."""
    return NoAgentOffers(
        f"no actor offers {contract_name}{near_match(contract_name, offered, 'offered')}.",
        advice="Start a pool of agents that handle it, or ask a reference.",
        may_have_run=False,
    )
