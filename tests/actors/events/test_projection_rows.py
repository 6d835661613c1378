"""The types of rows: a contract that `Projection[Row]` names; what no store keeps is refused."""

import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, TypeVar

import pytest

from callboard.actors.events.projection.projection import Projection, Rows, projects
from callboard.actors.events.projection.projector import Projector
from callboard.actors.events.projection.queries import Queries
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import SpecError
from callboard.runtime.stores.memory import MemoryReadModelStore

from .accounts import DEADLINE_S, Deposited, append, open_journal

AnyRow = TypeVar("AnyRow")


class Balance(Contract, name="rows.balance"):
    total: int


class Other(Contract, name="rows.other"):
    total: int


class Plain(TypedDict):
    total: int


class OfTuples(TypedDict):
    pair: tuple[int, int]


class Balances(Projection[Balance]):
    """It says its row in one place."""

    name = "balances"

    @projects
    def deposited(self, rows: Rows[Balance], event: Deposited) -> None:
        before = rows.get(event.account)
        total = event.amount + (0 if before is None else before.total)
        rows[event.account] = Balance(total=total)


class Quoted(Projection["Balance"]):
    name = "quoted"


class Derived(Balances):
    name = "derived"


class Generic(Projection[AnyRow]):
    name = "generic"


class OfGeneric(Generic[Balance]):
    name = "of_generic"


def projection_of(row: Any) -> Any:
    return types.new_class(
        "Made", (Projection[row],), exec_body=lambda body: body.update(name="made")
    )


async def test_rows_are_the_contract_that_the_class_names() -> None:
    models = MemoryReadModelStore()
    models.open()
    async with (
        open_journal() as journal,
        Queries(Balances, models) as queries,
        Projector(Balances(), journal, models, queries=[queries]),
    ):
        position = await append(journal, [Deposited(account="a", amount=n) for n in (1, 2)])
        await queries.wait_for(position, DEADLINE_S)
        assert await queries.get("a") == Balance(total=3)
    # Another process, which has no row in memory.
    async with (
        open_journal() as journal,
        Queries(Derived, models) as queries,
    ):
        assert (await queries.get("a")) is None, "a model of its own"
    models.close()


@pytest.mark.parametrize("projection", [Balances, Quoted, Derived, OfGeneric])
def test_a_contract_is_the_row_however_it_is_named(projection: type[Projection[Any]]) -> None:
    codec = projection().row_codec()
    assert codec.decode(codec.encode(Balance(total=5))) == Balance(total=5)


@pytest.mark.parametrize(
    "row",
    [
        int,
        str | bytes,
        dict[str, list[float]],
        Mapping[str, Sequence[int]],
        Plain,
        Any,
        Literal["open", 1],
        bool | None,
    ],
)
def test_plain_rows_are_accepted(row: Any) -> None:
    made = projection_of(row)
    made().row_codec().encode(1)


@pytest.mark.parametrize(
    ("row", "named"),
    [
        (tuple[int, int], "tuple"),
        (set[str], "set"),
        (dict[str, tuple[int, ...]], "tuple"),
        (OfTuples, "tuple"),
        (complex, "complex"),
        (Projection, "Projection"),
        (Balance | int, "Balance"),
        (list[Balance], "Balance"),
    ],
)
def test_rows_that_no_store_keeps_as_they_are_are_refused_when_the_projection_is_made(
    row: Any, named: str
) -> None:
    made = projection_of(row)
    with pytest.raises(SpecError, match=rf"rows of Made have the type {named}") as refused:
        made()
    assert "Use a Contract" in refused.value.advice
    with pytest.raises(SpecError, match="rows of Made"):
        Queries(made, MemoryReadModelStore())


def test_two_contracts_for_one_row_are_refused() -> None:
    class Twice(Projection[Balance]):
        name = "twice"
        row = Other

    with pytest.raises(SpecError, match=r"Twice\.row is Other, but the class is a Projection\[Bal"):
        Twice()


def test_a_row_that_does_not_resolve_is_refused() -> None:
    class Nowhere(Projection["DefinedNowhere"]):  # type: ignore[name-defined]
        name = "nowhere"

    with pytest.raises(SpecError, match=r"'DefinedNowhere' of .*Nowhere does not resolve"):
        Nowhere()
