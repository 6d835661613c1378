"""Reducers: the same result for every order of arrival."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.aggregator.reducers import (
    Collect,
    ConcatLists,
    Count,
    First,
    MergeDicts,
    Quorum,
    Reducer,
    Sum,
    Verdict,
    Vote,
    reduce_all,
)
from callboard.messages.core.errors import ResultRejected

numbers = st.one_of(st.integers(), st.floats(allow_nan=False))
dicts = st.dictionaries(st.sampled_from("abc"), st.integers(0, 2))
CASES: dict[str, tuple[Callable[[], Reducer[Any, Any, Any]], st.SearchStrategy[Any]]] = {
    "collect": (Collect, numbers),
    "concat_lists": (ConcatLists, st.lists(numbers, max_size=3)),
    "count": (Count, numbers),
    "sum": (Sum, numbers),
    "first": (First, numbers),
    "merge_first": (lambda: MergeDicts("first"), dicts),
    "merge_last": (lambda: MergeDicts("last"), dicts),
    "merge_keep_all": (lambda: MergeDicts("keep_all"), dicts),
    "merge_fold": (lambda: MergeDicts(lambda left, right: left * 3 + right), dicts),
    "vote": (Vote, st.sampled_from([1, 1.0, True, 2, "x"])),
    "quorum": (lambda: Quorum(3), st.integers(0, 2)),
}


@pytest.mark.parametrize("case", CASES)
@given(data=st.data())
def test_any_order_gives_the_same(case: str, data: st.DataObject) -> None:
    make, values = CASES[case]
    keyed = list(enumerate(data.draw(st.lists(values, max_size=8))))
    result = reduce_all(make(), data.draw(st.permutations(keyed)))
    # The text as well: 1, 1.0 and True are equal, and dictionaries compare without their order.
    assert repr(result) == repr(reduce_all(make(), keyed))


def test_collect_keeps_plan_order_whatever_arrives_first() -> None:
    assert reduce_all(Collect[str](), [(2, "c"), (0, "a"), (1, "b")]) == ["a", "b", "c"]


def test_concat_lists_joins_in_plan_order() -> None:
    assert reduce_all(ConcatLists[int](), [(1, [3]), (0, [1, 2])]) == [1, 2, 3]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], 0),
        ([1, 2], 3),
        ([0.1] * 10, 1.0),
        ([1e308, 1e308, -1e308], 1e308),
        ([1e308, 1e308], math.inf),
        ([math.inf, 1], math.inf),
        ([10**400, -(10**400), 1], 1),
        ([5e-324, 5e-324], 1e-323),
    ],
)
def test_sum_is_exact(values: list[float], expected: float) -> None:
    result = reduce_all(Sum(), list(enumerate(values)))
    assert result == expected
    assert type(result) is type(expected)


def test_sum_of_opposite_infinities_is_nan() -> None:
    assert math.isnan(reduce_all(Sum(), [(0, math.inf), (1, -math.inf)]))


def test_merge_dicts_rejects_unequal_values_and_names_the_key() -> None:
    with pytest.raises(ResultRejected, match="'k'"):
        reduce_all(MergeDicts[str, int](), [(0, {"k": 1}), (1, {"k": 2})])


def test_merge_dicts_equal_values_are_no_conflict() -> None:
    assert reduce_all(MergeDicts[str, int](), [(0, {"k": 1}), (1, {"k": 1})]) == {"k": 1}


def test_merge_dicts_keep_all_makes_lists_even_of_one() -> None:
    merged = reduce_all(MergeDicts[str, int]("keep_all"), [(1, {"k": 2}), (0, {"k": 1, "l": 3})])
    assert merged == {"k": [1, 2], "l": [3]}


def test_merge_dicts_keys_in_plan_order() -> None:
    merged = reduce_all(MergeDicts[str, int]("first"), [(1, {"z": 1}), (0, {"b": 1, "a": 1})])
    assert list(merged) == ["b", "a", "z"]


def test_quorum_reached_and_missed() -> None:
    votes = [(0, "yes"), (1, "no"), (2, "yes")]
    assert reduce_all(Quorum[str](2), votes) == Verdict("yes", reached=True, votes=2, voters=3)
    assert reduce_all(Quorum[str](3), votes) == Verdict(None, reached=False, votes=2, voters=3)


def test_vote_tie_goes_to_the_first_in_the_plan() -> None:
    assert reduce_all(Vote[str](), [(1, "b"), (0, "a")]).value == "a"


def test_first_of_nothing_is_none() -> None:
    assert reduce_all(First[int](), []) is None
