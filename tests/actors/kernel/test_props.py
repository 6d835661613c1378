"""Props: a class with its constructor's arguments, checked at their call."""

import pickle
from typing import Any

import pytest

from callboard.actors.kernel.actor import Actor
from callboard.actors.kernel.props import props, props_of
from callboard.actors.kernel.spawnable import Props
from callboard.messages.core.errors import SpecError


class Plain(Actor):
    pass


class Counter(Actor):
    def __init__(self, start: int, *, name: str = "", host: int = 0) -> None:
        self.made_of = (start, name, host)


class Picky(Actor):
    def __init__(self, *values: int, unit: str) -> None:
        self.made_of = (values, unit)


def make_plain() -> Plain:
    return Plain()


WRONG: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any], str]] = {
    "missing": (Counter, (), {}, "start"),
    "too many": (Counter, (1, 2), {}, "too many positional"),
    "unknown": (Counter, (1,), {"color": "red"}, "color"),
    "twice": (Counter, (1,), {"start": 1}, "start"),
    "keyword missing": (Picky, (1, 2), {}, "unit"),
    "none taken": (Plain, (1,), {}, "too many positional"),
}


@pytest.mark.parametrize(("actor", "args", "keywords", "named"), WRONG.values(), ids=WRONG)
def test_a_wrong_constructor_call_is_refused_where_it_is_made(
    actor: Any, args: tuple[Any, ...], keywords: dict[str, Any], named: str
) -> None:
    with pytest.raises(SpecError, match=named) as refused:
        props(actor, *args, **keywords)
    assert actor.__qualname__ in refused.value.message


@pytest.mark.parametrize(
    "actor", [dict, 7, [], make_plain], ids=["a class", "a number", "a list", "a function"]
)
def test_a_value_that_is_not_an_actor_class_is_refused(actor: Any) -> None:
    with pytest.raises(SpecError, match="is not an Actor class"):
        props(actor)
    with pytest.raises(SpecError, match="is not an Actor class"):
        props_of(actor)


def test_any_keyword_belongs_to_the_constructor() -> None:
    made = props(Counter, 1, name="x", host=2)
    assert made == Props(Counter, (1,), {"name": "x", "host": 2})
    assert props(Picky, 1, 2, unit="m").keywords == {"unit": "m"}


def test_a_class_alone_needs_no_arguments() -> None:
    assert props_of(Plain) == Props(Plain)
    assert props_of(props(Counter, 1)) == Props(Counter, (1,))
    with pytest.raises(SpecError, match=r"props\(Counter, \.\.\.\)"):
        props_of(Counter)  # type: ignore[arg-type]


def test_props_are_frozen_hashable_and_travel() -> None:
    made = props(Counter, 1)
    with pytest.raises(AttributeError):
        made.args = ()  # type: ignore[misc]
    assert {made: 1}[props(Counter, 1)] == 1
    assert pickle.loads(pickle.dumps(made)) == made
