"""Dead letters keep the original, whatever it was, and become rows again."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.pipelines.batch import DataBatch
from callboard.actors.pipelines.errors import LetterUnreadable
from callboard.actors.pipelines.letters import DeadRow, letter_of, original_of, row_of
from callboard.actors.pipelines.running.outgoing import decode_batch, encode_batch
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.errors import StoreDamaged
from tests.thoroughness import examples

ROW = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False)
    | st.text(max_size=9) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner,
                                                                max_size=3),
    max_leaves=8,
)  # fmt: skip


class Order(Contract, name="test.pipelines.order"):
    """A row that is a contract."""

    number: int


def letter(row: Any) -> DeadRow:
    batch = DataBatch.of_rows([row], source="s", position=3)
    return letter_of(
        batch, 0, batch, ("why",), stage="x", schema_version=1, attempt=1, execution="e", at=1.0
    )


@settings(max_examples=examples(200))
@given(ROW)
def test_a_row_comes_back_and_its_letter_survives_its_encoding(row: Any) -> None:
    made = letter(row)
    assert DeadRow.decode(made.encode()) == made
    assert row_of(made) == row
    made.to_data()


def test_a_contract_comes_back_when_it_is_known() -> None:
    made = letter(Order(number=7))
    assert row_of(made, {Order.contract_name: Order}) == Order(number=7)
    with pytest.raises(LetterUnreadable, match=r"test\.pipelines\.order"):
        row_of(made)


def test_a_row_without_an_encoding_is_kept_as_its_text() -> None:
    made = letter(object)
    assert b"object" in made.original
    with pytest.raises(LetterUnreadable):
        row_of(made)


def test_a_row_that_a_stage_has_made_is_its_own_original() -> None:
    batch = DataBatch.of_rows([{"n": 1}, {"n": 2}], source="s", position=3)
    made = batch.made(({"sum": 3},))
    found = letter_of(
        batch, 0, made, ("why",), stage="x", schema_version=1, attempt=1, execution="e", at=1.0
    )
    assert row_of(found) == {"sum": 3}
    assert found.position == 3


def test_long_reasons_are_cut() -> None:
    batch = DataBatch.of_rows([b"x"])
    found = letter_of(
        batch, 0, batch, ("y" * 9_999, "\ud800") * 20, stage="x", schema_version=1, attempt=1,
        execution="e", at=1.0,
    )  # fmt: skip
    assert len(found.reasons) == 10
    assert max(map(len, found.reasons)) == 500
    assert DeadRow.decode(found.encode()) == found


@settings(max_examples=examples(200))
@given(st.binary(max_size=40))
def test_whatever_bytes_are_stored_they_decode_or_are_damage(data: bytes) -> None:
    for decode in (DeadRow.decode, decode_batch):
        try:
            decode(data)
        except StoreDamaged:
            continue


@settings(max_examples=examples(100))
@given(st.lists(ROW, max_size=4))
def test_a_batch_comes_back(rows: list[Any]) -> None:
    rows = [row for row in rows if original_of(row)[1] != "text"]
    found = decode_batch(encode_batch(DataBatch.of_rows(rows, source="s", position=2)))
    assert list(found.data) == rows
    assert (found.source, found.position) == ("s", 2)


def test_contracts_go_out_by_their_names() -> None:
    data = encode_batch(DataBatch.of_rows([Order(number=1)]))
    assert decode_batch(data, {Order.contract_name: Order}).data == (Order(number=1),)
    with pytest.raises(CallboardError, match=r"test\.pipelines\.order"):
        decode_batch(data)
