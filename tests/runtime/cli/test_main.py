"""The command as a whole: its help, its version, and Ctrl-C at any moment."""

import importlib
import inspect
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import click
import pytest

import callboard as package
from callboard.messages.jobs.execution import ExecutionStatus
from callboard.runtime.cli import main as entry
from callboard.runtime.cli.commands import executions, running, systems
from callboard.runtime.cli.commands.group import group
from callboard.runtime.cli.outcome import ExitCode
from callboard.runtime.cli.top import SORTS
from callboard.runtime.hosting.settings import ENGINES

BODY: Final = re.compile(r"from \.\.(?P<module>\w+) import (?P<name>\w+) as perform")


@pytest.mark.parametrize("name", ["run", "tree", "doctor"])
def test_help_lists_each_command_and_each_has_its_own(
    name: str, callboard: Callable[..., Any]
) -> None:
    assert f"\n  {name} " in callboard("--help").out
    own = callboard(name, "--help")
    assert own.code == ExitCode.OK
    assert f"callboard {name}" in own.out


def test_version_is_the_package_version(callboard: Callable[..., Any]) -> None:
    assert package.__version__ in callboard("--version").out


@pytest.mark.parametrize("arguments", [("walk",), ("tree", "--nonsense"), ("run",)])
def test_wrong_usage_exits_2_and_names_help(
    arguments: tuple[str, ...], callboard: Callable[..., Any]
) -> None:
    ended = callboard(*arguments)
    assert ended.code == ExitCode.USAGE
    assert "--help" in ended.err


def command_lines() -> list[list[str]]:
    """Each command and each command of a group, and none at all."""
    found: list[list[str]] = [[]]
    for name, command in group.commands.items():
        found.append([name])
        if isinstance(command, click.Group):
            found += [[name, below] for below in command.commands]
    return found


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_the_help_of_a_command_needs_nothing_that_the_command_needs(words: list[str]) -> None:
    heavy = ("ray", "numpy", "pydantic", "redis", "msgpack", "rich.table", "asyncio.events")
    code = (
        "import sys; from callboard.runtime.cli.main import main\n"
        f"try: main({[*words, '--help']!r})\n"
        f"finally: print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert time.monotonic() - began < 10.0  # 0.1 s on a free machine.
    assert "Usage: callboard" in ended.stdout
    assert ended.stderr == "[]\n"


@pytest.mark.parametrize("words", command_lines()[1:], ids=" ".join)
def test_each_declared_command_has_a_body_that_takes_its_options(words: list[str]) -> None:
    command: click.Command = group
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    if isinstance(command, click.Group):
        return
    assert command.callback is not None
    imported = BODY.search(inspect.getsource(command.callback))
    assert imported is not None, "it imports its body when it runs"
    module = importlib.import_module(f"callboard.runtime.cli.{imported['module']}")
    parameters = inspect.signature(getattr(module, imported["name"])).parameters
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    names = {parameter.name for parameter in command.params if parameter.expose_value}
    assert takes_any or set(parameters) == names


def test_the_choices_are_those_of_the_code() -> None:
    assert set(systems.SORTS) == set(SORTS)
    assert running.ENGINES == ENGINES
    assert (*ExecutionStatus, "interrupted") == executions.STATUSES


def test_ctrl_c_outside_of_any_work_exits_130(
    monkeypatch: pytest.MonkeyPatch, callboard: Callable[..., Any]
) -> None:
    def interrupted(arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "_run", interrupted)
    ended = callboard("doctor")
    assert ended.code == ExitCode.INTERRUPTED
    assert "Traceback" not in ended.err
