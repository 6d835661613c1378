"""Ids and texts from outside: no command prints an escape sequence, and hints can be pasted."""

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from callboard.actors.executions.history.events import Submitted, stream_of
from callboard.messages.core.names import shell_command
from callboard.messages.storage.events import Append, NewEvent
from callboard.runtime.cli.figures import hint, printable, short
from callboard.runtime.stores.sqlite import SqliteEventStore, group

EVIL: Final = "a\x1b[31m$(id)\n\x9b2J\u202ex"
"""An id that an earlier release let pass."""
GENERATED: Final = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = tmp_path / "journal.db"
    store = SqliteEventStore(path)
    store.open()
    store.take_over("\x1b[31mred/1")
    monkeypatch.setattr(group, "check_new_stream", lambda _name: None)
    submitted = Submitted(job="job\x1b[2J", at=1.0, by="\x1b[31mred/1", id=EVIL)
    event = NewEvent(bytes(16), str(submitted.kind), submitted.write())
    store.commit([Append(stream_of(EVIL), (event,))])
    store.close()
    return str(path)


def is_harmless(text: str) -> bool:
    return all(line.isprintable() for line in text.splitlines())


@pytest.mark.parametrize("command", ["ls", "show", "events", "resume", "cancel", "tail", "missing"])
def test_no_command_prints_an_escape_sequence(
    callboard: Callable[..., Any], journal: str, command: str
) -> None:
    if command == "ls":
        ended = callboard("ls", "--journal", journal)
    elif command == "missing":
        ended = callboard("show", "\x1b[31mnone", "--journal", journal)
    elif command == "events":
        ended = callboard("events", EVIL, "--journal", journal)
    elif command == "tail":
        ended = callboard("tail", EVIL, "--journal", journal, "--for", "0")
    else:
        ended = callboard(command, EVIL, "--journal", journal)
    assert "31m" in ended.out + ended.err
    assert is_harmless(ended.out)
    assert is_harmless(ended.err)


def test_the_hint_of_a_list_can_be_pasted(callboard: Callable[..., Any], journal: str) -> None:
    ended = callboard("ls", "--journal", journal)
    (line,) = [line for line in ended.err.splitlines() if line.startswith("callboard resume")]
    pasted = line.replace("callboard resume", "printf %s")
    shell = subprocess.run(["bash", "-c", pasted], capture_output=True, check=True)
    assert shell.stdout.decode() == EVIL


@pytest.mark.parametrize("name", ["$(id)", "two words", "it's", "order-17/refund/and/more"])
def test_a_hint_has_the_id_as_one_word(name: str) -> None:
    assert shlex.split(hint("resume", name)) == ["callboard", "resume", name]
    assert shlex.split(hint("approve", name, "a $step")) == [
        "callboard",
        "approve",
        name,
        "a $step",
    ]


def test_only_generated_ids_are_cut() -> None:
    assert hint("show", GENERATED) == "callboard show 0123456789ab"
    assert short("a\nb\tc\x1b[31m") == "a·b·c·[31m"


@pytest.mark.parametrize("text", ["a\x1b[31m", "a\x9b1m", "a\u202eb", "x\ud800", "\x7f", "\r"])
def test_foreign_text_is_shown_without_what_moves_a_terminal(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(text).encode()
    assert printable("a\n\tb") == "a\n\tb"


def test_the_commands_take_an_id_after_two_dashes(
    callboard: Callable[..., Any], journal: str
) -> None:
    arguments = shlex.split(shell_command("show", "-none", options=("--journal", journal)))
    ended = callboard(*arguments)
    assert "-none" in ended.err
    assert "No such option" not in ended.err
