"""What a driver sends to the root to have a pool: a part for each host, and what it offers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from callboard.actors.actor import Actor, behaviour_of
from callboard.actors.host.warden import Birth
from callboard.messages.errors import SpecError
from callboard.messages.hosts import HOSTS_MAX
from callboard.messages.placement import Placement, Resources
from callboard.messages.ports import Pickler
from callboard.messages.routing import Routing
from callboard.messages.spawning import Offer, SpawnPart
from callboard.messages.spec import Restart

from .births import part_of

__all__ = ["POOL_SIZE_MAX", "PoolPlan"]

POOL_SIZE_MAX: Final = 1_000_000
AGENTS_A_HOST: Final = 2


@final
@dataclass(frozen=True, slots=True)
class PoolPlan:
    """A pool as it was asked for."""

    agent: type[Actor]
    args: tuple[Any, ...]
    keywords: dict[str, Any]
    size: int | None
    name: str | None
    routing: Routing | None
    isolated: Resources | None

    def parts(
        self, pickler: Pickler, hosts: Sequence[int]
    ) -> tuple[tuple[SpawnPart, ...], list[Offer]]:
        """The parts and what they offer; raises `SpecError` for a wrong plan."""
        behaviour = behaviour_of(self.agent)
        names = tuple(row.contract.contract_name for row in behaviour.handlers.values())
        contracts = (*names, *(() if self.name is None else (self.name,)))
        routing = None if self.routing is None else self.routing.to_text()
        parts: list[SpawnPart] = []
        offers: list[Offer] = []
        for place, share in self._shares(hosts):
            birth: Birth = (
                self.agent, self.args, self.keywords or None, self.name or self.agent.__name__,
                Restart.PERMANENT, None, share,
            )  # fmt: skip
            working = share * behaviour.concurrency
            offers.append(
                Offer(part=len(parts), contracts=contracts, size=working, routing=routing)
            )
            parts.append(part_of(pickler, [birth], place))
        return tuple(parts), offers

    def _shares(self, hosts: Sequence[int]) -> list[tuple[Placement, int]]:
        """Where its agents go, and how many to each place."""
        if self.isolated is not None:
            size = self._checked(0 if self.size is None else self.size, HOSTS_MAX)
            return [(Placement(isolated=self.isolated), 1)] * size
        default = AGENTS_A_HOST * len(hosts)
        size = self._checked(default if self.size is None else self.size, POOL_SIZE_MAX)
        if not hosts:
            raise SpecError("a pool without a host.", advice="All hosts have ended.", field="size")
        shares = (size // len(hosts) + (i < size % len(hosts)) for i in range(len(hosts)))
        return [
            (Placement(host), share) for host, share in zip(hosts, shares, strict=True) if share
        ]

    def _checked(self, size: int, limit: int) -> int:
        if not 1 <= size <= limit:
            raise SpecError(
                f"a pool of {size} agents.", advice=f"Give it 1 to {limit}.", field="size"
            )
        return size
