"""The contract of every store of states: a dict whose versions only grow."""

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.messages.storage.stores import StateRow, StateStore
from tests.thoroughness import examples, sharing_fixtures

OpenStates = Callable[[], StateStore]
IDS = ("", "a", "b", "ü/1", "%_")
TABLES = itertools.count(1)
ROWS = st.lists(
    st.builds(
        StateRow, id=st.sampled_from(IDS), version=st.integers(1, 6), data=st.binary(max_size=4)
    ),
    max_size=5,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), ROWS),
        st.tuples(st.just("delete"), st.lists(st.sampled_from(IDS), max_size=3)),
    ),
    max_size=12,
)


@settings(sharing_fixtures(), max_examples=examples(60))
@given(steps=STEPS)
def test_a_store_is_a_dict_with_versions(
    open_states: OpenStates, steps: list[tuple[str, list[StateRow]]]
) -> None:
    store, table = open_states(), f"kind-{next(TABLES)}"
    model: dict[str, StateRow] = {}
    for step, given_ in steps:
        if step == "delete":
            ids = [str(each) for each in given_]
            store.delete(table, ids)
            for id_ in ids:
                model.pop(id_, None)
        else:
            newer = []
            for row in given_:
                newer.append(row.id not in model or row.version > model[row.id].version)
                if newer[-1]:
                    model[row.id] = row
            assert store.upsert(table, given_) == newer
        asked = [*IDS, *reversed(IDS)]
        assert store.find_by_ids(table, asked) == [model.get(id_) for id_ in asked]
    assert store.find_by_ids(f"{table}-other", IDS) == [None] * len(IDS)


def test_many_rows_at_once(open_states: OpenStates) -> None:
    store = open_states()
    rows = [StateRow(f"id-{number}", 1, b"x" * 10) for number in range(25_000)]
    assert store.upsert("k", rows) == [True] * len(rows)
    assert store.find_by_ids("k", [row.id for row in rows]) == rows
    assert store.upsert("k", rows) == [False] * len(rows)


def test_states_are_there_for_another_process(open_states: OpenStates) -> None:
    first, second = open_states(), open_states()
    first.upsert("k", [StateRow("a", 2, b"new")])
    assert second.upsert("k", [StateRow("a", 1, b"old"), StateRow("b", 1, b"")]) == [False, True]
    assert first.find_by_ids("k", ["a", "b"]) == [StateRow("a", 2, b"new"), StateRow("b", 1, b"")]


@pytest.mark.parametrize("size", [0, 1, 2**20])
def test_data_comes_back_as_it_was(open_states: OpenStates, size: int) -> None:
    store = open_states()
    data = bytes(range(256)) * (size // 256 + 1)
    store.upsert("k", [StateRow("a", 2**40, data[:size])])
    assert store.find_by_ids("k", ["a"]) == [StateRow("a", 2**40, data[:size])]


def test_empty_requests_have_empty_results(open_states: OpenStates) -> None:
    store = open_states()
    assert store.upsert("k", []) == []
    assert store.find_by_ids("k", []) == []
    store.delete("k", [])
    store.close()
    store.close()
