"""Ends Ray's processes after their driver: a program of its own, `python -I -S agent_watch.py`.

Its arguments are descriptors of processes (Linux's `pidfd_open(2)`), so that it cannot end another
process that has the same id later: the driver's first, then those to end. It imports as little as
possible, to be small (9 MB) and to start at once.
"""

import select
import signal
import sys
import time

__all__ = ["main"]

GRACE_S = 2.0
"""How long they may take to end by themselves."""


def main(descriptors: list[int]) -> None:
    """Wait for the end of the first process, and then for the others'; kill what is left."""
    driver, *others = descriptors
    select.select([driver], [], [])
    deadline = time.monotonic() + GRACE_S
    while others and time.monotonic() < deadline:
        ended, _, _ = select.select(others, [], [], deadline - time.monotonic())
        others = [each for each in others if each not in ended]
    for each in others:
        try:
            signal.pidfd_send_signal(each, signal.SIGKILL)
        except ProcessLookupError:
            continue  # It has ended in this moment.


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])
