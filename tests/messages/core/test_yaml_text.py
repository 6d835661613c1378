"""YAML as values: the line of what is wrong, and nothing that grows on its own."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.messages.core.yaml_text import YamlRefused, yaml_values

BOMB = "a: &a [x, x]\n" + "".join(
    f"{after}: &{after} [*{before}, *{before}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_an_alias_is_refused_with_its_line() -> None:
    with pytest.raises(YamlRefused, match="aliases are not supported") as refused:
        yaml_values(BOMB)
    assert refused.value.line == 2


@pytest.mark.parametrize(
    ("text", "line"), [("a: [1\nb: 2", 2), ("a: 1\n\tb: 2", 2), ("a\0", 1), ("[" * 5_000, 1)]
)
def test_what_is_no_yaml_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(YamlRefused) as refused:
        yaml_values(text)
    assert refused.value.line == line
    assert refused.value.problem


def test_each_value_has_its_line() -> None:
    read = yaml_values("\n\na: 1\nb:\n- {c: no}\n- [2024, null]\n")
    assert read.value == {"a": 1, "b": [{"c": False}, [2024, None]]}
    assert read.lines == {
        "": 3, "a": 3, "b": 4, "b[0]": 5, "b[0].c": 5, "b[1]": 6, "b[1][0]": 6, "b[1][1]": 6,
    }  # fmt: skip
    assert not read.problems
    assert yaml_values("# nothing").value is None
    assert yaml_values("{1: no, b: [1.10, ~]}", only_texts=True).value == {
        "1": "no", "b": ["1.10", "~"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\nb: 2\na: 3", 3, "'a' is there twice"),
        ("a: 1\n? [b]\n: 2", 2, "a key must be a text"),
        ("a:\n  !!bool x", 2, "no value of the type"),
        ("a: !!int ''", 1, "no value of the type"),
        ("a: !!timestamp x", 1, "no value of the type"),
        ("a: " + "[" * 60 + "]" * 60, 1, "deeper than 50"),
        ("a: !!python/object:os.system x", 1, "constructor"),
    ],
)
def test_what_is_yaml_and_still_wrong_is_a_problem(text: str, line: int, problem: str) -> None:
    ((at, found),) = yaml_values(text).problems
    assert (at, problem in found) == (line, True), found


TAGS = ("!!bool ", "!!int ", "!!float ", "!!timestamp ", "!!binary ", "!!null ", "!!set ", "? ")


@given(
    st.lists(
        st.sampled_from([*TAGS, *"ab01:-[]{}&*!|>'\"#,?% \n\t\0é", "2024-01-01", "1:2:3", ".inf"]),
        max_size=60,
    ).map("".join),
    st.booleans(),
)
def test_any_text_has_values_or_is_refused(text: str, only_texts: bool) -> None:
    with contextlib.suppress(YamlRefused):
        yaml_values(text, only_texts=only_texts)
