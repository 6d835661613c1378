"""The entry of a side's process: `python -m MODULE FIGURE --params JSON`, with one line of output.

Invariants: standard output has exactly one line, the outcome as JSON; prints of libraries go to
standard error. The process does not outlive the harness, not even after a kill with -9.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from bench.outcome import Outcome, Params

__all__ = ["PARENT_PIPE_ENV", "Run", "serve"]

Run: TypeAlias = Callable[[Params], Outcome]

PARENT_PIPE_ENV = "CALLBOARD_BENCH_PARENT_PIPE"
"""The variable with the descriptor that reads end-of-file when the harness is gone."""


def serve(figures: Mapping[str, Run]) -> None:
    """Run the figure that the command line names, and print its outcome.

    Exits with code 2 for an unknown figure. An exception of the figure is not caught: the harness
    reports the traceback on standard error.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("figure", choices=sorted(figures))
    parser.add_argument("--params", type=json.loads, default={}, help="a JSON object")
    arguments = parser.parse_args()
    _die_with_parent()
    with _stdout_for_outcome_only() as stdout:
        outcome = figures[arguments.figure](arguments.params)
        line = json.dumps(
            {"results": outcome.results, "check": outcome.check, "notes": list(outcome.notes)}
        )
        os.write(stdout, line.encode() + b"\n")


@contextlib.contextmanager
def _stdout_for_outcome_only() -> Iterator[int]:
    """Give the real standard output; meanwhile descriptor 1 is standard error.

    This moves the descriptor, not `sys.stdout`, because native code and child processes print too.
    """
    sys.stdout.flush()
    outcome_fd = os.dup(1)
    os.dup2(2, 1)
    try:
        yield outcome_fd
    finally:
        sys.stdout.flush()
        os.close(outcome_fd)


def _die_with_parent() -> None:
    descriptor = os.environ.get(PARENT_PIPE_ENV)
    if descriptor is not None:
        os.set_inheritable(int(descriptor), False)  # noqa: FBT003 - the function's signature
        threading.Thread(
            target=_kill_group_at_end_of_file, args=(int(descriptor),), daemon=True
        ).start()


def _kill_group_at_end_of_file(descriptor: int) -> None:
    # The harness never writes, so a read returns only when every writing end is closed.
    while os.read(descriptor, 1):
        pass
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
