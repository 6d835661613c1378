"""The tasks that wait for a future: directly, or through other tasks and asyncio's helpers.

asyncio keeps who waits for a future as the future's callbacks. Such a callback belongs to a task,
to a task group, or to the future that `gather`, `wait`, `wait_for` or `shield` has made. What else
a callback does is not known, and counts as no wait. Nothing here is called for an ask that is
answered in time.
"""

import asyncio
import functools
from collections.abc import Callable, Iterator
from typing import Any, Final

__all__ = ["waiting_tasks"]

FUTURES_MAX: Final = 1_024
"""Futures and tasks that one call looks at."""


def waiting_tasks(future: "asyncio.Future[Any]") -> Iterator["asyncio.Task[Any]"]:
    """The tasks that cannot go on until `future` is done, each once, the nearest first."""
    found: dict[int, asyncio.Future[Any]] = {id(future): future}
    waiting = [future]
    for place in waiting:
        # The list of a future that is done is empty.
        for callback, *_ in getattr(place, "_callbacks", None) or ():
            for owner in _owners(callback):
                if id(owner) not in found and len(found) < FUTURES_MAX:
                    found[id(owner)] = owner
                    waiting.append(owner)
                    if isinstance(owner, asyncio.Task):
                        yield owner


def _owners(callback: Callable[..., Any]) -> Iterator["asyncio.Future[Any]"]:
    """The futures that go on when `callback` is called."""
    if isinstance(callback, functools.partial):
        parts = (*callback.args, *callback.keywords.values())
        yield from (part for part in parts if isinstance(part, asyncio.Future))
        callback = callback.func
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Future):
        yield owner
    elif isinstance(owner, asyncio.TaskGroup):
        # The group's block does not end before its tasks have.
        parent = getattr(owner, "_parent_task", None)
        if isinstance(parent, asyncio.Future):
            yield parent
    elif str(getattr(callback, "__module__", "")).partition(".")[0] == "asyncio":
        for cell in getattr(callback, "__closure__", None) or ():
            try:
                value = cell.cell_contents
            except ValueError:  # Not set yet.
                continue
            if isinstance(value, asyncio.Future):
                yield value
