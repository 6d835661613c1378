"""The command as a whole: its help, its version, and Ctrl-C at any moment."""

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

import callboard as package
from callboard.runtime.cli import main as entry
from callboard.runtime.cli.outcome import ExitCode


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


def test_help_needs_no_ray_and_no_time() -> None:
    code = (
        "import sys; from callboard.runtime.cli.main import main\n"
        "try: main(['--help'])\n"
        "finally: assert 'ray' not in sys.modules, 'ray was imported'"
    )
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert time.monotonic() - began < 10.0  # A fifth of it on a free machine; Ray alone takes 1 s.


def test_ctrl_c_outside_of_any_work_exits_130(
    monkeypatch: pytest.MonkeyPatch, callboard: Callable[..., Any]
) -> None:
    def interrupted(arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "_run", interrupted)
    ended = callboard("doctor")
    assert ended.code == ExitCode.INTERRUPTED
    assert "Traceback" not in ended.err
