"""`callboard resume ID`: starts the driver of an execution again, to continue it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from callboard.actors.executions.history.fold import ExecutionHistory
from callboard.messages.core.errors import HostLost, UsageError
from callboard.messages.jobs.commands import ResumeExecution
from callboard.messages.jobs.execution import ExecutionStatus

from ..executions.executions import RESUME_VARIABLE
from .figures import echo, hint
from .logs import Found, catch_up, find, history_of, open_logs
from .outcome import ExitCode
from .steer import ask_owner, check_free, command_fields

__all__ = ["resume", "script_of"]

POLL_S: Final = 0.2
WITH_VALUE: Final = frozenset({"-W", "-X", "--check-hash-based-pycs"})


def resume(*, execution_id: str, as_json: bool, take_over: bool, url: str | None) -> None:
    """Perform the command; `commands/` declares it."""
    context = click.get_current_context()
    with open_logs(url) as logs:
        found = find(logs, execution_id)
        history = history_of(found)
        if history.is_over:
            raise UsageError(
                f"execution {found.id} is over: {history.status}.",
                advice=f"`{hint('show', found.id)}` shows it, `fork` runs parts again.",
            )
        command = ResumeExecution(**command_fields(found, history))
        if ask_owner(found, command) is not None:
            try:
                status = _follow(found, history)
            except KeyboardInterrupt:
                context.exit(ExitCode.INTERRUPTED)
            code = 0 if status is ExecutionStatus.COMPLETED else ExitCode.FAILED
            _print_status(found, status, code, as_json=as_json)
            context.exit(code)
        check_free(found, take_over=take_over)
        argv, folder = _argv(found.id, history.submitted.driver or {})
        journal = str(found.log.url if found.log.path is None else found.log.path.resolve())
    environment = {**os.environ, RESUME_VARIABLE: found.id, "CALLBOARD_JOURNAL": journal}
    code = _run(argv, folder, environment)
    with open_logs(journal) as logs:
        after = history_of(find(logs, found.id))
    if code == 0 and not after.is_over:
        echo(
            f"the driver has ended, and execution {found.id} is {after.status}: did it submit a "
            f"request of job {history.job!r}, with this journal?",
            err=True,
        )
        code = ExitCode.FAILED
    if as_json:
        _print_status(found, after.status, code, as_json=True)
    context.exit(code)


def _follow(found: Found, history: ExecutionHistory) -> ExecutionStatus:
    """Wait until the running system has ended the execution. Raises when the system ends first."""
    click.echo(
        f"the system of process {found.log.writer() or 'unknown'} continues it; Ctrl-C ends "
        "this command only.",
        err=True,
    )
    while True:
        is_gone = found.log.writer() == ""  # Asked first, so that its last events are read.
        catch_up(found, history)
        if history.is_over:
            return history.status
        if is_gone:
            raise HostLost(
                f"the system that continued execution {found.id} ended before the execution did.",
                advice=hint("resume", found.id),
            )
        time.sleep(POLL_S)


def _print_status(found: Found, status: ExecutionStatus, code: int, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"id": found.id, "status": str(status), "exit_code": int(code)}))
    else:
        echo(f"execution {found.id}: {status}.")


def _argv(execution_id: str, driver: Mapping[str, Any]) -> tuple[list[str], str]:
    argv, executable = list(driver.get("argv") or ()), str(driver.get("executable") or "")
    folder = str(driver.get("folder") or "")
    if not argv or not executable:
        raise UsageError(
            f"execution {execution_id} does not say how its driver was started.",
            advice="Resume it in a program: `await system.resume(job, id)`.",
        )
    if not Path(folder).is_dir():
        raise UsageError(f"the folder of its driver is gone: {folder}.")
    if not Path(executable).exists():
        raise UsageError(f"the Python of its driver is gone: {executable}.")
    script = script_of(argv[1:])
    if script is not None and not (Path(folder) / script).exists():
        raise UsageError(
            f"its driver is gone: {Path(folder) / script}.",
            advice="Put it back, or resume in a program: `await system.resume(job, id)`.",
        )
    return [executable, *argv[1:]], folder


def script_of(arguments: Sequence[str]) -> str | None:
    """The script in the arguments of Python; None for code or a module."""
    rest = iter(arguments)
    for argument in rest:
        if argument in WITH_VALUE:
            next(rest, None)
        elif argument in ("-m", "-c", "-"):
            return None
        elif not argument.startswith("-"):
            return argument
    return None


def _run(command: Sequence[str], folder: str, environment: Mapping[str, str]) -> int:
    # Ctrl-C on the terminal reaches the driver too. The driver ends, and then this command does. A
    # Python handler is not inherited, so the driver handles Ctrl-C as usual.
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        with subprocess.Popen(command, cwd=folder, env=environment) as driver:  # noqa: S603 - as before
            code = driver.wait()
    except OSError as error:
        raise UsageError(f"its driver cannot be started: {error}.") from error
    finally:
        signal.signal(signal.SIGINT, before)
        sys.stdout.flush()
    return code if code >= 0 else 128 - code
