"""The ways in for a role: an extension of the host, and startables that the root ships to it.

The wiring passes a host its extensions at construction. Their `handler` methods answer in
cell 0, next to those of the control actor, so the kernel knows no message of a role. A role
that only has cells of its own kind needs no extension: its `Recipe` makes them.
"""

import asyncio
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeAlias, TypeVar, final

from callboard.messages.control.spec import STOP_TIMEOUT_DEFAULT, Restart, StopTimeout
from callboard.messages.core.errors import SpecError, UsageError
from callboard.messages.core.ref import Address

from ..actor import Actor, Handler, handlers_of
from ..cell import Cell, Recipe
from ..ports import RoleHost

__all__ = [
    "Extension",
    "Extensions",
    "MakeExtension",
    "RecipeStart",
    "Startable",
    "extension_handlers",
]

ExtensionT = TypeVar("ExtensionT")
LOGGER: Final = logging.getLogger("callboard.host")
STOPPING_S: Final = 2.0


class Extension:
    """A role's part of one host. By default its hooks do nothing."""

    def peer_opened(self, slot: int) -> None:
        """The link to another host is open: it takes requests from now on."""

    def peer_lost(self, slot: int, epoch: float) -> None:
        """Another host is lost, in this incarnation and all before it."""

    async def stopping(self) -> None:
        """All actors of the host have stopped in order, and it closes next."""

    def close(self) -> None:
        """The host closes: drop all state."""


MakeExtension: TypeAlias = Callable[[RoleHost[Cell]], Extension]
"""A factory of an extension. It must not use the host yet, which is under construction."""


class Startable(Protocol):
    """Something to start on a host that is more than a plain actor; the root ships it there."""

    @property
    def title(self) -> str:
        """Its name in errors."""

    def actors(self) -> Iterator[type[Actor]]:
        """Its actor classes, which a standby loads ahead of time."""

    def host_terms(self) -> tuple[str, Restart, StopTimeout]:
        """The name, restart and stop timeout of a host of its own."""

    def begin(self, host: RoleHost[Cell], number: int, places: Sequence[Address]) -> Cell:
        """Begin to start it under this number; `places` are the addresses of its other parts.

        Raises `SpecError` when a class is no proper actor, `NameTaken` for its name.
        """


@final
@dataclass(frozen=True, slots=True)
class RecipeStart:
    """A top-level actor whose recipe makes a cell of its own kind."""

    recipe: Recipe
    restart: Restart = Restart.PERMANENT
    stop_timeout: StopTimeout | None = None

    @property
    def title(self) -> str:
        """Its name in errors."""
        return self.recipe.actor.__qualname__

    def actors(self) -> Iterator[type[Actor]]:
        """The class of its actor."""
        yield self.recipe.actor

    def host_terms(self) -> tuple[str, Restart, StopTimeout]:
        """The terms of its actor."""
        name = self.recipe.name or self.recipe.actor.__name__
        return name, self.restart, self.stop_timeout or STOP_TIMEOUT_DEFAULT

    def begin(self, host: RoleHost[Cell], number: int, places: Sequence[Address]) -> Cell:
        """Begin to start it under this number."""
        make = functools.partial(self.recipe.make_cell, host=host)
        return host.spawner.begin_cell(make, None, self.restart, self.stop_timeout, number)


_TABLES: Final[dict[type[Extension], Mapping[type, Handler]]] = {}
"""Tables by class, read once per process: reading takes a millisecond."""


def extension_handlers(kind: type[Extension]) -> Mapping[type, Handler]:
    """The handlers of an extension class, for cell 0. Raises `SpecError`."""
    table = _TABLES.get(kind)
    if table is None:
        table = _TABLES[kind] = handlers_of(kind)
    return table


class Extensions:
    """The extensions of one host, in the order of their factories."""

    __slots__ = ("_all",)

    def __init__(self, host: RoleHost[Cell], made: Sequence[MakeExtension]) -> None:
        self._all = tuple(make(host) for make in made)

    def find(self, kind: type[ExtensionT]) -> ExtensionT:
        """The extension of that kind; raises `UsageError` when the host has none."""
        for extension in self._all:
            if isinstance(extension, kind):
                return extension
        raise UsageError(
            f"this host has no {kind.__name__}.", advice="Pass it to the host in its wiring."
        )

    def handlers(self) -> Mapping[type, Handler]:
        """Their rows of the dispatch table of cell 0; raises `SpecError` for a contract of two."""
        table: dict[type, Handler] = {}
        for extension in self._all:
            rows = extension_handlers(type(extension))
            for contract in table.keys() & rows.keys():
                raise SpecError(
                    f"{type(extension).__qualname__}.{rows[contract].name} and "
                    f"{table[contract].name} both handle {contract.__name__}.",
                    advice="Write one handler for each contract, over all extensions of a host.",
                )
            for contract, row in rows.items():
                table[contract] = replace(row, function=_bound(row.function, extension))
        return table

    def peer_opened(self, slot: int) -> None:
        """The link to another host is open."""
        for extension in self._all:
            extension.peer_opened(slot)

    def peer_lost(self, slot: int, epoch: float) -> None:
        """Another host is lost, in this incarnation and all before it."""
        for extension in self._all:
            extension.peer_lost(slot, epoch)

    async def stopping(self) -> None:
        """All actors of the host have stopped in order; an error or a delay is logged."""
        for extension in self._all:
            try:
                async with asyncio.timeout(STOPPING_S):
                    await extension.stopping()
            except Exception as error:  # noqa: BLE001 - the host stops in any case
                LOGGER.warning("%s did not stop: %r", type(extension).__name__, error)

    def close(self) -> None:
        """The host closes: drop all state."""
        for extension in self._all:
            extension.close()


def _bound(function: Callable[..., Any], extension: Extension) -> Callable[..., Any]:
    def call(_: Actor, *arguments: Any) -> Any:
        return function(extension, *arguments)

    return call
