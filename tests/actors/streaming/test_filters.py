"""Filters of subscriptions mean what Centrifugo's mean, and their size is bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.streaming.filters import (
    DEPTH_MAX,
    NODES_MAX,
    VALUES_MAX,
    compiled,
)
from callboard.messages.control.filters import StreamFilter
from callboard.messages.core.errors import UsageError

TAGS = {"level": "error", "size": "12.5", "empty": "", "word": "ten"}


@pytest.mark.parametrize(
    ("cmp", "key", "value", "passes"),
    [
        ("eq", "level", "error", True),
        ("eq", "level", "Error", False),
        ("eq", "missing", "", False),
        ("neq", "level", "error", False),
        ("neq", "missing", "error", True),
        ("ex", "empty", "", True),
        ("ex", "missing", "", False),
        ("nex", "missing", "", True),
        ("sw", "level", "err", True),
        ("sw", "missing", "", False),
        ("ew", "level", "or", True),
        ("ct", "level", "rro", True),
        ("ct", "missing", "", False),
        ("gt", "size", "12.49", True),
        ("gt", "size", "12.5", False),
        ("gte", "size", "12.5", True),
        ("lt", "size", "1e2", True),
        ("lte", "size", "-1", False),
        ("gt", "word", "1", False),
        ("lt", "word", "1", False),
        ("lt", "missing", "1", False),
        ("gt", "size", "one", False),
    ],
)
def test_a_comparison(cmp: str, key: str, value: str, passes: bool) -> None:
    assert compiled(StreamFilter(key=key, cmp=cmp, val=value))(TAGS) is passes


@pytest.mark.parametrize(
    ("cmp", "key", "passes"),
    [
        ("in", "level", True),
        ("nin", "level", False),
        ("in", "missing", True),
        ("nin", "missing", True),
    ],
)
def test_sets_compare_a_missing_tag_as_empty(cmp: str, key: str, passes: bool) -> None:
    assert compiled(StreamFilter(key=key, cmp=cmp, vals=("error", "")))(TAGS) is passes


def test_conditions_combine() -> None:
    error = StreamFilter(key="level", cmp="eq", val="error")
    large = StreamFilter(key="size", cmp="gt", val="100")
    assert compiled(StreamFilter(op="or", nodes=(error, large)))(TAGS)
    assert not compiled(StreamFilter(op="and", nodes=(error, large)))(TAGS)
    assert compiled(StreamFilter(op="not", nodes=(large,)))(TAGS)


def deep(levels: int) -> StreamFilter:
    found = StreamFilter(key="a", cmp="ex")
    for _ in range(levels - 1):
        found = StreamFilter(op="not", nodes=(found,))
    return found


LEAF = StreamFilter(key="a", cmp="ex")


@pytest.mark.parametrize(
    "wrong",
    [
        StreamFilter(),
        StreamFilter(op="xor", nodes=(LEAF,)),
        StreamFilter(op="and"),
        StreamFilter(op="not", nodes=(LEAF, LEAF)),
        StreamFilter(key="a", cmp="like"),
        StreamFilter(key="a", cmp="ex", nodes=(LEAF,)),
        StreamFilter(key="a", cmp="in", vals=("v",) * (VALUES_MAX + 1)),
        StreamFilter(op="or", nodes=(LEAF,) * NODES_MAX),
        StreamFilter(op="or", nodes=(LEAF,) * 10_000),
        deep(DEPTH_MAX + 1),
        deep(200),
    ],
)
def test_a_filter_that_is_wrong_or_too_large_is_refused(wrong: StreamFilter) -> None:
    with pytest.raises(UsageError):
        compiled(wrong)


def test_the_largest_filter_is_taken() -> None:
    assert compiled(deep(DEPTH_MAX))({"a": "1"}) is False
    assert compiled(StreamFilter(op="or", nodes=(LEAF,) * (NODES_MAX - 1)))({"a": "1"})


WORDS = st.sampled_from(["", "a", "b", "1", "1.5", "nan", "inf", "1e999999999", "\u0661"])
LEAVES = st.builds(
    StreamFilter,
    key=WORDS,
    cmp=st.sampled_from(
        ["eq", "neq", "in", "nin", "ex", "nex", "sw", "ew", "ct", "gt", "gte", "lt", "lte", "?"]
    ),
    val=WORDS,
    vals=st.tuples(WORDS),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        StreamFilter,
        op=st.sampled_from(["and", "or", "not", "?"]),
        nodes=st.lists(inner, max_size=3).map(tuple),
    ),
    max_leaves=12,
)


@given(TREES, st.dictionaries(WORDS, WORDS))
def test_any_filter_is_refused_or_answers(tree: StreamFilter, tags: dict[str, str]) -> None:
    try:
        test = compiled(tree)
    except UsageError:
        return
    assert test(tags) in (True, False)
