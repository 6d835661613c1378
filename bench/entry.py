"""How a side runs as a process: `python -m MODULE FIGURE --params JSON`, one line out.

Invariants: standard output carries exactly one line, the outcome as JSON, whatever a
library prints (its prints go to standard error); and the process does not outlive the
harness, not even when that is killed with -9.
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
"""Names the file descriptor that reads end-of-file once the harness is gone."""


def serve(figures: Mapping[str, Run]) -> None:
    """Run the figure that the command line names and print its outcome.

    Exits with code 2 when the command line names no figure of this side. What the figure
    raises is not caught: its traceback on standard error is what the harness reports.
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
    """Give the real standard output away; descriptor 1 is standard error meanwhile.

    It is the descriptor that is moved, not `sys.stdout`: native code and child processes
    print too.
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
    # The harness never writes: a read returns only when every writing end is closed.
    while os.read(descriptor, 1):
        pass
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
