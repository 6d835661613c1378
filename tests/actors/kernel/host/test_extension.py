"""The extensions of a host: handlers in cell 0, startables, and cells of their own kind."""

from typing import Any

import pytest

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.cell import Cell, Recipe
from callboard.actors.kernel.host.extension import Extension, RecipeStart
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.ports import CellHost, RoleHost
from callboard.messages.control.control_plane import CONTROL_CELL, StartActors
from callboard.messages.control.views import QueryHost
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import SpecError, UsageError
from callboard.messages.core.ref import Address

from .conftest import make_host

HERE = Address(1, CONTROL_CELL)


class Counted(Contract, name="tests.extension.counted"):
    count: int


class Count(Request[Counted], name="tests.extension.count"):
    """Asks for the number of these requests."""


class Counter(Extension):
    """Counts in cell 0."""

    def __init__(self, host: RoleHost[Cell]) -> None:
        self.host = host
        self.count = 0
        self.is_closed = False

    @handler
    async def counted(self, request: Count) -> Counted:
        self.count += 1
        return Counted(count=self.count)

    def close(self) -> None:
        self.is_closed = True


class Other(Extension):
    """Handles a contract that `Counter` handles too."""

    @handler
    async def also(self, request: Count) -> Counted:
        return Counted(count=0)


class Viewer(Extension):
    """Handles a contract of the kernel's own control actor."""

    @handler
    async def view(self, request: QueryHost) -> Any:
        return None


class Counts(Actor):
    @handler
    async def count(self, request: Count) -> Counted:
        return Counted(count=-1)


class CountsCell(Cell):
    __slots__ = ()


class CountsRecipe(Recipe):
    __slots__ = ()

    def make_cell(self, number: int, host: CellHost[Cell]) -> Cell:
        plain = super().make_cell(number, host)
        return CountsCell(number, self, plain.behaviour, host.dispatcher)


async def test_an_extension_answers_in_cell_0_of_its_own_host_and_ends_with_that() -> None:
    hosts = [make_host(Counter), make_host(Counter)]
    for expected in (1, 2):
        assert await hosts[0].ask(HERE, Count()) == Counted(count=expected)
    assert await hosts[1].ask(HERE, Count()) == Counted(count=1)
    found = hosts[0].extension(Counter)
    assert (found.host, found.is_closed) == (hosts[0], False)
    for host in hosts:
        await host.close()
    assert found.is_closed


async def test_another_control_actor_keeps_the_extensions() -> None:
    host = make_host(Counter)
    host.run_control(Recipe(Actor))
    assert await host.ask(HERE, Count()) == Counted(count=1)
    with pytest.raises(SpecError, match=r"Counts\.count and counted both handle Count"):
        host.run_control(Recipe(Counts))
    await host.close()


async def test_a_missing_extension_is_an_error(host: Host) -> None:
    with pytest.raises(UsageError, match="no Counter"):
        host.extension(Counter)


@pytest.mark.parametrize(
    ("extensions", "message"),
    [
        ((Counter, lambda _: Other()), "also and counted both handle Count"),
        ((lambda _: Viewer(),), r"ControlActor\.query and view both handle QueryHost"),
    ],
)
async def test_two_handlers_of_one_contract_are_refused(extensions: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make_host(*extensions)


async def test_a_startable_begins_in_a_cell_of_its_own_kind(host: Host) -> None:
    entries = host.pickler.dumps([RecipeStart(CountsRecipe(Counts, name="counts"))])
    assert (await host.ask(HERE, StartActors(entries=entries, cells=(7,)))).failures == {}
    assert type(host.cells[7]) is CountsCell
    assert await host.ask(Address(1, 7), Count()) == Counted(count=-1)
