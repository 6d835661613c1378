"""YAML as nodes: the line of what is wrong, and nothing that grows on its own."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.messages.core.yaml_text import YamlRefused, line_of, yaml_node

BOMB = "a: &a [x, x]\n" + "".join(
    f"{after}: &{after} [*{before}, *{before}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_an_alias_is_refused_with_its_line() -> None:
    with pytest.raises(YamlRefused, match="aliases are not supported") as refused:
        yaml_node(BOMB)
    assert refused.value.line == 2


@pytest.mark.parametrize(
    ("text", "line"), [("a: [1\nb: 2", 2), ("a: 1\n\tb: 2", 2), ("a\0", 1), ("[" * 5_000, 1)]
)
def test_what_is_no_yaml_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(YamlRefused) as refused:
        yaml_node(text)
    assert refused.value.line == line
    assert refused.value.problem


def test_a_node_has_its_line() -> None:
    node = yaml_node("\n\na: 1\n")
    assert node is not None
    assert line_of(node) == 3
    assert yaml_node("# nothing") is None


@given(st.text(alphabet=st.sampled_from("ab01:-[]{}&*!|>'\"#,?% \n\t\0é"), max_size=60))
def test_any_text_is_a_node_or_refused(text: str) -> None:
    with contextlib.suppress(YamlRefused):
        yaml_node(text)
