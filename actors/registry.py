"""The directory: which name is where, and who offers which contract.

Every host holds a copy, the root holds the original and sends each change to all. A
route is chosen from the copy, so an ask without an address costs no extra hop.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from callboard.messages.contract import Contract
from callboard.messages.errors import CallboardError, NoAgentOffers
from callboard.messages.ref import Address

__all__ = ["Directory"]


class Directory:
    """Names and offers, as one host knows them."""

    __slots__ = ("_names", "_offers", "_sizes", "_turns", "hosts", "version")

    def __init__(self) -> None:
        self._names: dict[str, Address] = {}
        self._offers: dict[str, Sequence[Address]] = {}
        self._sizes: dict[Address, int] = {}
        self._turns: dict[str, int] = {}
        self.hosts: Sequence[int] = ()
        """The slots of all hosts that take actors of any kind, up or not."""
        self.version = 0
        """Grows with each change; an older copy never replaces a newer one."""

    def replace(
        self,
        version: int,
        names: Mapping[str, Address],
        offers: Mapping[str, Sequence[Address]],
        sizes: Mapping[Address, int],
        hosts: Sequence[int] = (),
    ) -> None:
        """Take over a newer copy."""
        if version > self.version:
            self.version = version
            self._names = dict(names)
            self._offers = {name: tuple(places) for name, places in offers.items()}
            self._sizes = dict(sizes)
            self.hosts = tuple(hosts)

    def find(self, name: str) -> Address | None:
        """Where the actor of that name is."""
        return self._names.get(name)

    def offers(self, contract_name: str) -> Sequence[Address]:
        """Who offers that contract."""
        return self._offers.get(contract_name, ())

    def size_of(self, address: Address) -> int:
        """How many agents stand behind an offer."""
        return self._sizes.get(address, 1)

    def route(self, contract: type[Contract]) -> Any:
        """The address to send a contract to, each offer in turn; an error when there is none."""
        addresses = self._offers.get(contract.contract_name)
        if not addresses:
            return no_agent_offers(contract.contract_name)
        turn = self._turns.get(contract.contract_name, 0)
        self._turns[contract.contract_name] = turn + 1
        return addresses[turn % len(addresses)]


def no_agent_offers(contract_name: str) -> CallboardError:
    """The error for a request that nobody offers to handle."""
    return NoAgentOffers(
        f"nobody offers {contract_name}.",
        advice="Start a pool of agents that handle it, or ask a reference.",
        may_have_run=False,
    )
