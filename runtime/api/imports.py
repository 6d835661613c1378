"""The check, before actors start, that the hosts can import what the actors need.

Only hosts where the actors may run are asked, and each module once for each host. A host that does
not answer is left to the start itself.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.control.placement import Placement
from callboard.messages.control.spawning import SpawnPart
from callboard.messages.core.errors import ClusterError
from callboard.messages.core.ref import Address

from ..hosting.inventory import SHIP_ADVICE, FindModules, ModulesFound, modules_of
from ..hosting.wiring import pickles_of

__all__ = ["ImportCheck"]

ANSWER_S: Final = 30.0
"""How long a host may take: it imports the packages of the modules, which may take seconds."""
PROBLEMS_SHOWN_MAX: Final = 5
CODES_MAX: Final = 1_024


class ImportCheck:
    """The modules that hosts of one system are known to have."""

    def __init__(self) -> None:
        self._modules: dict[bytes, frozenset[str]] = {}
        self._found: set[tuple[int, str]] = set()

    async def check(self, host: Host, parts: Iterable[SpawnPart]) -> None:
        """Raise `ClusterError` that names modules and nodes, unless all hosts have what they need.

        `host` is the driver's own.
        """
        wanted: dict[int, set[str]] = {}
        for part in parts:
            needed = self._needed(part.code)
            for slot in _slots(host, part) if needed else ():
                missing = {name for name in needed if (slot, name) not in self._found}
                if missing:
                    wanted.setdefault(slot, set()).update(missing)
        if wanted:
            await self._ask(host, wanted)

    def _needed(self, code: bytes) -> frozenset[str]:
        known = self._modules.get(code)
        if known is None:
            known = frozenset().union(*(modules_of(pickled) for pickled in pickles_of(code)))
            if len(self._modules) >= CODES_MAX:
                del self._modules[next(iter(self._modules))]
            self._modules[code] = known
        return known

    async def _ask(self, host: Host, wanted: dict[int, set[str]]) -> None:
        asks = (
            host.ask(
                Address(slot, CONTROL_CELL), FindModules(modules=tuple(sorted(names))), ANSWER_S
            )
            for slot, names in wanted.items()
        )
        answers = await asyncio.gather(*asks, return_exceptions=True)
        problems: dict[str, list[str]] = {}
        """Each problem, and the nodes that have it."""
        for (slot, names), answer in zip(wanted.items(), answers, strict=True):
            if not isinstance(answer, ModulesFound):
                continue
            self._found |= {(slot, name) for name in names - answer.missing.keys()}
            for problem in answer.missing.values():
                nodes = problems.setdefault(problem, [])
                if answer.node not in nodes:
                    nodes.append(answer.node)
        if problems:
            raise _missing(problems)


def _slots(host: Host, part: SpawnPart) -> Sequence[int]:
    """The hosts where the actors of a part may run; none where only its own start will tell."""
    place = Placement() if part.placement is None else Placement.from_data(part.placement)
    if place.isolated is not None or isinstance(place.host, str):
        return ()
    return host.directory.hosts if place.host is None else (place.host,)


def _missing(problems: dict[str, list[str]]) -> ClusterError:
    said = [
        f"{problem} on node {', '.join(nodes)}"
        for problem, nodes in list(problems.items())[:PROBLEMS_SHOWN_MAX]
    ]
    more = len(problems) - len(said)
    return ClusterError(
        f"the actors cannot run: {'; '.join(said)}{f'; and {more} more' if more else ''}.",
        advice=SHIP_ADVICE,
        nodes=sorted({node for nodes in problems.values() for node in nodes}),
    )
