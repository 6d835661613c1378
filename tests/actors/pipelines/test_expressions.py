"""Expressions give for columns what they give for each row, and never do anything else."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.pipelines.expressions import Expression, FieldMissing
from callboard.messages.core.errors import UsageError
from tests.thoroughness import examples


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')", "a.b", "a[0]", "(lambda: 1)()", "[x for x in a]", "f(1)", "a()",
        "open('x')", "a := 1", "f'{a}'", "b'x'", "1j", "a if", "", " ", "a\0", "(" * 500,
        "lower(a, b=1)", "not " * 499 + "a", "a ** 9", "yield a", "*a", "{1: 2}", "...",
    ],
)  # fmt: skip
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Expression(text)


@pytest.mark.parametrize("text", ["'a' * n", "n * 'a'", "'%9999999999d' % n", "[1] * n"])
def test_nothing_makes_a_huge_text(text: str) -> None:
    with pytest.raises(TypeError):
        Expression(text).of_row({"n": 10**12})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("n + 1", 6), ("n - 1 if n > 9 else -n", -5), ("n in [4, 5]", True), ("1 < n <= 5", True),
        ("not n == 5", False), ("lower(s)", "ab"), ("length(s) + n % 2", 3),
        ("starts(s, 'A') and matches(s, 'A.')", True), ("max(n, 9)", 9), ("n // 2 * 2.5", 5.0),
        ("n not in (1, 2) or s is None", True), ("abs(-n)", 5), ("3", 3),
    ],
)  # fmt: skip
def test_values_of_rows_and_of_columns_are_the_same(text: str, value: Any) -> None:
    expression = Expression(text)
    assert expression.of_row({"n": 5, "s": "Ab"}) == value
    if " is " not in text:
        columns = {"n": np.array([5, 5]), "s": np.array(["Ab", "Ab"])}
        assert expression.of_columns(columns, 2).tolist() == [value, value]


def test_it_knows_its_fields_and_says_which_one_is_missing() -> None:
    expression = Expression("lower(a) == b")
    assert expression.fields == {"a", "b"}
    with pytest.raises(FieldMissing, match="'b'"):
        expression.of_row({"a": "x"})
    with pytest.raises(FieldMissing, match="'a'"):
        expression.of_columns({}, 0)


@settings(max_examples=examples(400))
@given(st.text(alphabet="an+-*/%()[]<>='\"., 19ifelsornt", max_size=30))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        found = Expression(text)
    except UsageError:
        return
    try:
        found.of_row({"a": 1, "n": 2})
    except (FieldMissing, TypeError, ValueError, ZeroDivisionError, OverflowError):
        return
