"""Ctrl-C in a driver: one line, the exit code of a shell, and nothing left."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest

from callboard.runtime.api.interrupts import INTERRUPTED
from callboard.runtime.api.run import run
from callboard.runtime.api.system import System

DRIVER: Final = """
import asyncio, sys
from callboard import Actor, Contract, System, handler, run


class Idle(Contract, name="interrupts.idle"):
    pass


class Waiting(Actor):
    @handler
    async def idle(self, message: Idle) -> None:
        await asyncio.sleep(3_600.0)


async def main(system: System) -> None:
    ref = await system.spawn(Waiting)
    ref.tell(Idle())
    await system.view()
    print("up", flush=True)
    try:
        await asyncio.sleep(3_600.0)
    finally:
        print("left", flush=True)


run(main, engine=sys.argv[1], hosts=1, blocked_s=60.0)
"""
SHELL: Final = 'trap : INT; "$@"; echo "code $?"'
"""As an interactive shell does: it survives Ctrl-C, and its child gets it."""
GONE_WITHIN_S: Final = 15.0


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Ctrl-C works, also in a test run that a shell has started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("engine", "whole_group"),
    [
        ("inline", False),
        pytest.param("ray", False, marks=[pytest.mark.ray, pytest.mark.soak]),
        pytest.param("ray", True, marks=[pytest.mark.ray, pytest.mark.soak]),
    ],
)
def test_ctrl_c_prints_one_line(engine: str, whole_group: bool, tmp_path: Path) -> None:
    """Sent to the driver alone, and to its whole process group as a terminal does."""
    driver = tmp_path / "driver.py"
    driver.write_text(textwrap.dedent(DRIVER))
    with subprocess.Popen(
        ["/bin/sh", "-c", SHELL, "sh", sys.executable, driver, engine],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "CALLBOARD_HOME": str(tmp_path)},
    ) as shell:  # fmt: skip
        try:
            assert shell.stdout is not None
            assert shell.stdout.readline() == "up\n"
            (python,) = psutil.Process(shell.pid).children()
            children = python.children(recursive=True)
            assert bool(children) is (engine == "ray")
            if whole_group:
                os.killpg(shell.pid, signal.SIGINT)
            else:
                python.send_signal(signal.SIGINT)
            out, errors = shell.communicate(timeout=60.0)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    assert out.splitlines() == ["left", "code 130"]
    assert errors == f"{INTERRUPTED}\n"
    _, alive = psutil.wait_procs(children, timeout=GONE_WITHIN_S)
    assert [member for member in alive if member.status() != psutil.STATUS_ZOMBIE] == []


def test_a_program_may_still_catch_it_and_other_errors_have_their_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: seen.append(error))

    async def interrupted(system: System) -> None:
        signal.raise_signal(signal.SIGINT)
        await system.view()

    with pytest.raises(KeyboardInterrupt):
        run(interrupted, engine="inline", hosts=1)
    other = ValueError("another")
    sys.excepthook(ValueError, other, None)
    assert seen == [other]
