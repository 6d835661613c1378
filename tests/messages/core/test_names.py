"""The one rule for names and ids, and the edges that apply it."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import callboard
from callboard import Actor
from callboard.actors.events.codec import EventCodec
from callboard.actors.events.consumers.group import ConsumerGroup
from callboard.actors.events.projection.projection import Projection
from callboard.actors.journal.position import Position
from callboard.actors.journal.stored import StoredLog
from callboard.actors.trees.spec import TreeSpec
from callboard.messages.control.hosts import HostSpec
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError, InvalidMessage, SpecError
from callboard.messages.core.names import (
    NAME_BYTES_MAX,
    check_name,
    escaped,
    joined,
    problem_of,
    problems_of,
    shell_command,
)
from callboard.messages.jobs.execution import check_execution_id
from callboard.messages.jobs.job import Job
from callboard.messages.jobs.plan import Plan, SubTask
from callboard.messages.storage.events import Append, NewEvent
from callboard.runtime.hosting.settings import Settings
from callboard.runtime.stores.choose import path_of
from callboard.runtime.stores.memory import MemoryEventStore, MemoryReadModelStore

GOOD = ["a", "x y", "$(id)", "ünïcode", "a/b", "..", "'quoted'", "👩\u200d🚀", "\u00a0", "a" * 200]
WRONG = {
    "": "is empty",
    "a\0": "a control character at place 2, U+0000",
    "a\nb": "U+000A",
    "\x1b[31mred": "U+001B",
    "a\x9b": "U+009B",
    "x\ud800": "a lone surrogate, which has no encoding, at place 2, U+D800",
    "a\u2028b": "a line separator",
    "a\u202eb": "turns the direction",
    "a" * (NAME_BYTES_MAX + 1): "has 1001 bytes, the limit is ",
    "é" * NAME_BYTES_MAX: "has 2000 bytes",
}


@pytest.mark.parametrize("name", GOOD)
def test_names_of_people_pass(name: str) -> None:
    assert check_name("the name", name) == name
    assert problems_of([name, "other"]) == []


@pytest.mark.parametrize(("name", "problem"), WRONG.items())
def test_other_texts_are_refused_with_the_character(name: str, problem: str) -> None:
    with pytest.raises(SpecError, match="the name") as caught:
        check_name("the name", name, field="name")
    text = str(caught.value)
    assert problem in text
    assert text.isprintable()
    assert len(text) < 300
    assert caught.value.details == {"field": "name"}
    assert [found for found, _ in problems_of(["good", name])] == [name]


@pytest.mark.parametrize("name", [None, 7, b"bytes", ["a"]])
def test_what_is_no_text_is_refused(name: Any) -> None:
    with pytest.raises(SpecError, match=f"is a {type(name).__name__}, not a text"):
        check_name("the name", name)
    assert len(problems_of(["good", name])) == 1


@given(st.lists(st.text(max_size=5) | st.sampled_from([*GOOD, *WRONG])))
def test_many_names_have_the_problems_of_each(names: list[str]) -> None:
    each = [(name, problem) for name in names if (problem := problem_of(name)) is not None]
    assert problems_of(names) == each


@given(st.text(min_size=1))
def test_a_name_that_passes_can_be_encoded_and_shown(name: str) -> None:
    if problem_of(name) is None:
        assert name.encode().decode() == name
        assert len(name.splitlines()) == 1
        assert "\x1b" not in name


@given(
    st.lists(st.text(alphabet="ab%/"), min_size=1), st.lists(st.text(alphabet="ab%/"), min_size=1)
)
def test_other_names_make_another_key(one: list[str], other: list[str]) -> None:
    assert (joined(*one) == joined(*other)) == (one == other)
    assert joined("a", "b c") == "a/b c"
    assert "/" not in escaped(one[0])


def _projection(name: Any) -> object:
    return type("Rows", (Projection,), {"name": name})()


def _stream(name: Any) -> object:
    return _append(Append(name, (NewEvent(bytes(16), "kind", b""),)))


def _kind(name: Any) -> object:
    return _append(Append("stream", (NewEvent(bytes(16), name, b""),)))


def _append(append: Append) -> object:
    store = MemoryEventStore()
    store.take_over("test")
    (outcome,) = store.commit([append])
    if isinstance(outcome, CallboardError):
        assert isinstance(outcome, InvalidMessage)
        assert store.head() == 0
        raise outcome
    return outcome


EDGES: dict[str, Callable[[Any], object]] = {
    "system": lambda name: Settings(name=name),
    "host": HostSpec,
    "tree": TreeSpec,
    "contract": lambda name: type("Named", (Contract,), {}, name=name),
    "job": lambda name: Job(name=name),
    "execution": check_execution_id,
    "step": lambda name: Plan((SubTask(name, None),)),
    "agent of a step": lambda name: Plan((SubTask("a", None, agent=name),)),
    "key of a step": lambda name: Plan((SubTask("a", None, key=name),)),
    "projection": _projection,
    "stream": _stream,
    "kind of event": _kind,
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("name", WRONG, ids=ascii)
def test_each_edge_refuses_a_wrong_name_in_words(edge: str, name: str) -> None:
    with pytest.raises(CallboardError) as caught:
        EDGES[edge](name)
    assert str(caught.value).isprintable()
    assert problem_of(name, bytes_max=200)[:7] in str(caught.value)  # type: ignore[index]


@pytest.mark.parametrize("edge", EDGES)
def test_each_edge_takes_a_usual_name(edge: str) -> None:
    assert EDGES[edge]("order 17 ($x)")


@pytest.mark.parametrize("name", ["../../evil", "/abs", "a/b"])
@pytest.mark.parametrize("edge", ["system", "tree"])
def test_names_that_are_parts_of_paths_have_no_slash(edge: str, name: str) -> None:
    with pytest.raises(SpecError, match="the character '/'"):
        EDGES[edge](name)


@pytest.mark.parametrize("name", ["journal", "blobs", "states"])
def test_a_place_has_no_nul(name: str) -> None:
    options: dict[str, Any] = {"journal": "memory:", name: "a\0b"}
    with pytest.raises(SpecError, match="NUL") as caught:
        Settings(**options)
    assert caught.value.details["field"] == name
    with pytest.raises(SpecError, match="NUL"):
        path_of("sqlite:///a%00b")


async def test_names_of_actors_groups_and_commands_are_checked_when_they_are_given() -> None:
    store = MemoryEventStore()
    models = MemoryReadModelStore()
    with pytest.raises(SpecError, match="the name of a group of consumers is"):
        ConsumerGroup("a\nb", StoredLog(store, Position(), "test"), EventCodec([]), models)
    async with callboard.start(engine="inline", hosts=1) as system:
        for name in ("a\nb", "x\ud800", ""):
            with pytest.raises(CallboardError, match="the actor's name"):
                await system.spawn(Plain, name=name)
            with pytest.raises(SpecError, match="the name of a pool"):
                await system.pool(Plain, size=1, name=name)
        ref = await system.spawn(Plain, name="a/b c")
        assert await system.lookup("a/b c") == ref


class Plain(Actor):
    """Handles nothing."""


def test_a_reserved_prefix_is_refused() -> None:
    with pytest.raises(CallboardError, match="reserved"):
        check_execution_id(":x")
    with pytest.raises(SpecError, match="begin with consumers/ or callboard"):
        _projection("consumers/a")


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "two words",
        "$(id)",
        "`id`",
        "it's",
        "-x",
        "a;b|c&d",
        "*",
        "a\nb",
        "\x1b[31m",
        "",
        "ü'\t",
    ],
    ids=ascii,
)
def test_a_command_to_paste_names_exactly_what_it_means(name: str) -> None:
    command = shell_command("printf '<%s>'", name, "second").replace("'<%s>' --", "-- '<%s>'")
    assert command.isprintable()
    shell = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert shell.stdout == f"<{name}><second>"


def test_a_name_that_looks_like_an_option_comes_after_two_dashes() -> None:
    command = shell_command("callboard down", "-x", options=("--address", "a b"))
    assert command == "callboard down --address 'a b' -- -x"
    assert shell_command("callboard show", "x\ud800y\udcff").isprintable()
