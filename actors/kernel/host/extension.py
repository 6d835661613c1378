"""How a role plugs into a host: an extension of the host, and what is shipped to be started.

The wiring gives a host its extensions when it makes it. Their `handler` methods answer in
cell 0, as those of the host's control actor do, so the kernel knows no message of a role. A
role that only has cells of its own kind needs no extension: its `Recipe` makes them.
"""

import functools
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


class Extension:
    """A role's part of one host. All its hooks do nothing by default."""

    def peer_opened(self, slot: int) -> None:
        """The way to another host is open: requests get through from now on."""

    def peer_lost(self, slot: int, epoch: float) -> None:
        """Another host is gone, in this incarnation and all before it."""

    def close(self) -> None:
        """Forget everything: the host is gone."""


MakeExtension: TypeAlias = Callable[[RoleHost[Cell]], Extension]
"""Keeps the host that it is given, and asks nothing of it yet: the host is being made."""


class Startable(Protocol):
    """What is shipped to a host to be started there, and is more than a plain actor."""

    @property
    def title(self) -> str:
        """What errors call it."""

    def actors(self) -> Iterator[type[Actor]]:
        """The classes in it, which a standby loads ahead of time."""

    def host_terms(self) -> tuple[str, Restart, StopTimeout]:
        """Of a host of its own: the name, and how that is restarted and stopped."""

    def begin(self, host: RoleHost[Cell], number: int, places: Sequence[Address]) -> Cell:
        """Begin to start it under this number; `places` are what it has on other hosts.

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
        """What errors call it."""
        return self.recipe.actor.__qualname__

    def actors(self) -> Iterator[type[Actor]]:
        """The class of its actor."""
        yield self.recipe.actor

    def host_terms(self) -> tuple[str, Restart, StopTimeout]:
        """Those of its actor."""
        name = self.recipe.name or self.recipe.actor.__name__
        return name, self.restart, self.stop_timeout or STOP_TIMEOUT_DEFAULT

    def begin(self, host: RoleHost[Cell], number: int, places: Sequence[Address]) -> Cell:
        """Begin to start it under this number."""
        make = functools.partial(self.recipe.make_cell, host=host)
        return host.spawner.begin_cell(make, None, self.restart, self.stop_timeout, number)


_TABLES: Final[dict[type[Extension], Mapping[type, Handler]]] = {}
"""Read once for all hosts of a process: it takes a millisecond."""


def extension_handlers(kind: type[Extension]) -> Mapping[type, Handler]:
    """What an extension of this class answers in cell 0. Raises `SpecError`."""
    table = _TABLES.get(kind)
    if table is None:
        table = _TABLES[kind] = handlers_of(kind)
    return table


class Extensions:
    """The extensions of one host, in the order in which it was given them."""

    __slots__ = ("_all",)

    def __init__(self, host: RoleHost[Cell], made: Sequence[MakeExtension]) -> None:
        self._all = tuple(make(host) for make in made)

    def find(self, kind: type[ExtensionT]) -> ExtensionT:
        """The extension of that kind; raises `UsageError` when the host has none."""
        for extension in self._all:
            if isinstance(extension, kind):
                return extension
        raise UsageError(
            f"this host has no {kind.__name__}.", advice="Give it to hosts where they are made."
        )

    def handlers(self) -> Mapping[type, Handler]:
        """What they add to the dispatch table of cell 0; raises `SpecError` if two do the same."""
        table: dict[type, Handler] = {}
        for extension in self._all:
            rows = extension_handlers(type(extension))
            for contract in table.keys() & rows.keys():
                raise SpecError(
                    f"{type(extension).__qualname__}.{rows[contract].name} and "
                    f"{table[contract].name} both handle {contract.__name__}.",
                    advice="One handler a contract, among all extensions of a host.",
                )
            for contract, row in rows.items():
                table[contract] = replace(row, function=_bound(row.function, extension))
        return table

    def peer_opened(self, slot: int) -> None:
        """The way to another host is open."""
        for extension in self._all:
            extension.peer_opened(slot)

    def peer_lost(self, slot: int, epoch: float) -> None:
        """Another host is gone, in this incarnation and all before it."""
        for extension in self._all:
            extension.peer_lost(slot, epoch)

    def close(self) -> None:
        """Forget everything: the host is gone."""
        for extension in self._all:
            extension.close()


def _bound(function: Callable[..., Any], extension: Extension) -> Callable[..., Any]:
    def call(_: Actor, *arguments: Any) -> Any:
        return function(extension, *arguments)

    return call
