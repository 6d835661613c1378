"""`callboard run`: runs a driver script or a function, or asks an actor one request.

Invariants: before the command ends, all that it started has stopped. Each kind of failure has its
exit code. stdout carries the result and the target's own output, nothing else.
"""

import contextlib
import json
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
from pydantic import BaseModel
from pydantic_core import to_json
from rich.console import Console

from callboard.actors.kernel.actor import Actor
from callboard.messages.core.contract import Request
from callboard.messages.core.errors import UsageError

from ..api.run import run as run_driver
from ..api.system import System
from ..hosting.settings import FROM_ENVIRONMENT
from .outcome import ExitCode, Failure, failure_of, print_failure
from .progress import ProgressLine
from .target import Function, Script, Target, actor_in, find_target, request_for

__all__ = ["run"]

UNTIL_CTRL_C_S: Final = 365 * 24 * 3600.0
"""Without --timeout a request has no limit. An ask needs a deadline, so this one is far away."""


def run(**options: Any) -> None:
    """Perform the command; `commands/` declares it."""
    context = click.get_current_context()
    began = time.monotonic()
    result, failure = _outcome(options)
    elapsed_s = round(time.monotonic() - began, 3)
    if failure is not None and failure.message:
        print_failure(failure, verbose=options["verbose"])
    if options["as_json"]:
        _print_line(result, failure, elapsed_s)
    elif failure is None:
        _print_result(result)
    context.exit(ExitCode.OK if failure is None else failure.exit_code)


def _outcome(options: Mapping[str, Any]) -> tuple[Any, Failure | None]:
    timeout_s: float | None = options["timeout_s"]
    passed = threading.Event()
    said = {v: options[name] for name, v in FROM_ENVIRONMENT.items() if name in options}
    # The script may change its folder.
    modules = [os.path.abspath(path) for path in options["modules"]]  # noqa: PTH100 - links stay
    said[FROM_ENVIRONMENT["modules"]] = os.pathsep.join(modules) or None
    try:
        with _environment(said), _interrupted_after(timeout_s, passed):
            return _perform(options), None
    except SystemExit as error:
        return None, _exit_failure(error)
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - ends by exit code
        if passed.is_set():
            message = f"not done within {timeout_s:g} s; everything was stopped."
            advice = "Raise --timeout, or see with `callboard tree` where the work waits."
            return None, Failure(ExitCode.TIMEOUT, "timeout", message, advice)
        return None, failure_of(error)


def _exit_failure(error: SystemExit) -> Failure | None:
    """The failure that a script's `sys.exit` means; None for success."""
    if error.code is None or error.code == 0:
        return None
    if isinstance(error.code, int):
        return Failure(error.code, "exit", "")
    return Failure(ExitCode.FAILED, "exit", str(error.code))


def _perform(options: Mapping[str, Any]) -> Any:
    name: str = options["target"]
    fields: str | None = options["fields"]
    target = find_target(name)
    _check_options(name, target, options)
    with _own_argv([name, *options["arguments"]]):
        if isinstance(target, Script):
            _run_script(target.path)
            return None
        line = ProgressLine()
        with line.display(f"{name}: starting"):
            if isinstance(target, Function):
                return run_driver(partial(_call, target, line))
            assert fields is not None, "checked with the other options"
            text = sys.stdin.read() if fields == "-" else fields
            request = request_for(target, text, options["contract"])
            pools = [_pool(target, pool) for pool in options["pools"]]
            timeout_s: float | None = options["timeout_s"]
            return run_driver(partial(_ask, target, request, pools, line, timeout_s))


def _check_options(name: str, target: Target, options: Mapping[str, Any]) -> None:
    if isinstance(target, type):
        if options["fields"] is None:
            raise UsageError(
                f"{name} is an actor and needs a request.",
                advice="""Give its fields: --request '{"field": "value"}'.""",
            )
        return
    for option in ("fields", "contract", "pools"):
        if options[option]:
            flag = {"fields": "request", "pools": "pool"}.get(option, option)
            raise UsageError(
                f"--{flag} needs an actor, and {name} is none.", advice="Leave it out."
            )


def _pool(neighbour: type[Actor], text: str) -> tuple[type[Actor], int | None]:
    name, equals, size = text.partition("=")
    if equals and not (size.isascii() and size.isdigit()):
        raise UsageError(f"--pool {text!r}: {size!r} is not a size.", advice="Write CLASS=8.")
    return actor_in(neighbour, name), int(size) if equals else None


async def _call(target: Function, line: ProgressLine, system: System) -> Any:
    async with line.follow(system):
        return await target.function(system)


async def _ask(
    actor: type[Actor],
    request: Request[Any],
    pools: Sequence[tuple[type[Actor], int | None]],
    line: ProgressLine,
    timeout_s: float | None,
    system: System,
) -> Any:
    async with line.follow(system):
        for agent, size in pools:
            await system.pool(agent, size=size)
        reference = await system.spawn(actor)
        return await reference.ask(request, timeout_s=timeout_s or UNTIL_CTRL_C_S)


def _run_script(path: Path) -> None:
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)  # As Python does for a script. Ray's workers inherit it.
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


# --- environment, arguments, timeout
# --------------------------------------------------------------------------


@contextlib.contextmanager
def _environment(values: Mapping[str, Any]) -> Iterator[None]:
    said = {name: str(value) for name, value in values.items() if value is not None}
    before = {name: os.environ.get(name) for name in said}
    os.environ.update(said)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _own_argv(argv: list[str]) -> Iterator[None]:
    before, sys.argv = sys.argv, argv
    try:
        yield
    finally:
        sys.argv = before


@contextlib.contextmanager
def _interrupted_after(timeout_s: float | None, passed: threading.Event) -> Iterator[None]:
    """Interrupt the work after the timeout, as Ctrl-C does. This stops any target."""
    if timeout_s is None:
        yield
        return
    lock = threading.Lock()
    finished = False

    def interrupt() -> None:
        with lock:
            if not finished:
                passed.set()
                os.kill(os.getpid(), signal.SIGINT)

    # A shell's background job ignores SIGINT, and would ignore the timeout too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(timeout_s, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            finished = True
        timer.cancel()
        signal.signal(signal.SIGINT, before)


# --- output -----------------------------------------------------------------------------


def _plain(result: Any) -> Any:
    """The result in JSON's types. Bytes become base64, unknown objects their repr."""
    if isinstance(result, BaseModel):
        result = result.model_dump()  # As a model it would use its own settings.
    elif isinstance(result, list | tuple):
        result = [_plain(item) for item in result]
    text = to_json(result, bytes_mode="base64", inf_nan_mode="strings", fallback=_other)
    return json.loads(text)


def _other(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else repr(value)


def _print_line(result: Any, failure: Failure | None, elapsed_s: float) -> None:
    data: dict[str, Any] = {"ok": failure is None, "exit_code": 0, "elapsed_s": elapsed_s}
    if failure is None:
        data["result"] = _plain(result)
    else:
        data |= {"exit_code": int(failure.exit_code), "error": failure.to_data()}
    click.echo(json.dumps(data))


def _print_result(result: Any) -> None:
    if result is None:
        return
    if isinstance(result, str):
        click.echo(result)
    else:
        Console().print_json(json.dumps(_plain(result)))
