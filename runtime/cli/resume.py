"""`callboard resume ID`: starts the driver of an execution once more, to go on with it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from callboard.messages.errors import UsageError

from ..executions import RESUME_VARIABLE
from .logs import Found, find, history_of, journal_option, open_logs
from .outcome import ExitCode

__all__ = ["check_free", "resume", "script_of"]

WITH_VALUE: Final = frozenset({"-W", "-X", "--check-hash-based-pycs"})


@click.command()
@click.argument("execution_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print how it ended as JSON, last.")
@click.option(
    "--take-over", is_flag=True, help="Even where nobody can tell whether its system runs."
)
@journal_option
@click.pass_context
def resume(
    context: click.Context, /, *, execution_id: str, as_json: bool, take_over: bool, url: str | None
) -> None:
    """Go on with the execution ID: start its driver again, as it was started before.

    What has ended is not run again. The driver's output and its exit code are passed on. Exits
    with 1 when the driver has ended well, but the execution has not ended.
    """
    with open_logs(url) as logs:
        found = find(logs, execution_id)
        history = history_of(found)
        if history.is_over:
            raise UsageError(
                f"execution {found.id} is over: {history.status}.",
                advice=f"`callboard show {found.id}` tells more, `callboard fork` begins anew.",
            )
        check_free(found, take_over=take_over)
        command, folder = _command(found.id, history.submitted.get("driver") or {})
        journal = str(found.log.url if found.log.path is None else found.log.path.resolve())
    environment = {**os.environ, RESUME_VARIABLE: found.id, "CALLBOARD_JOURNAL": journal}
    code = _run(command, folder, environment)
    with open_logs(journal) as logs:
        after = history_of(find(logs, found.id))
    if as_json:
        data = {"id": found.id, "status": str(after.status), "exit_code": code}
        click.echo(json.dumps(data))
    if code == 0 and not after.is_over:
        click.echo(
            f"the driver has ended, and execution {found.id} is {after.status}: did it submit a "
            f"request of job {history.job!r}, with this journal?",
            err=True,
        )
        code = ExitCode.FAILED
    context.exit(code)


def check_free(found: Found, *, take_over: bool) -> None:
    """Refuse when somebody writes the journal. Raises `UsageError`."""
    writer = found.log.writer()
    if writer:
        raise UsageError(
            f"the journal {found.log.url} is being written by process {writer}: execution "
            f"{found.id} may be running there.",
            advice="Follow it with `callboard tail`, or stop that system first.",
        )
    if writer is None and not take_over:
        raise UsageError(
            f"whether somebody writes {found.log.store.name} cannot be known here.",
            advice="When its system is gone for sure, say --take-over: the old writer is fenced.",
        )


def _command(execution_id: str, driver: Mapping[str, Any]) -> tuple[list[str], str]:
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
    """The script in Python's own arguments; None for code or a module."""
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
    # Ctrl-C reaches the driver from the terminal too: it ends, and then so do we.
    # A handler of Python's is not inherited, so the driver takes it as ever.
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
