"""Isolation: what a message leaves behind in the context and the task that its handler ran in.

Workers handle many messages, of many actors, in one task each. Nothing of one message may reach
the next: no context variable (the context of `decimal` is one), no cancellation, no callback, and
no hold on the task itself. So a worker handles no further message once its context has variables,
its task was changed, or somebody keeps a reference to it. A message that uses none of this costs
two comparisons; any other costs a new task.
"""

import asyncio
import contextvars
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final

__all__ = [
    "FRESH_VARIABLES",
    "WorkerTask",
    "fresh_context",
    "holders_of",
    "is_of_actor",
    "runs_for_actor",
]

_OF_ACTOR: Final[contextvars.ContextVar[bool]] = contextvars.ContextVar("callboard_of_actor")
_ORIGIN: Final = contextvars.Context()
_ORIGIN.run(_OF_ACTOR.set, True)  # noqa: FBT003 - the value of a variable
FRESH_VARIABLES: Final = len(_ORIGIN)
"""How many variables a fresh context has."""

holders_of: Final[Callable[[object], int]] = sys.getrefcount
"""How many references to an object there are. Compare the results of one place only."""


def fresh_context() -> contextvars.Context:
    """A context for the code of an actor, without a variable of anybody."""
    return _ORIGIN.copy()


def is_of_actor(context: contextvars.Context) -> bool:
    """Whether a context is, or was copied from, one of `fresh_context`."""
    return _OF_ACTOR in context


def runs_for_actor() -> bool:
    """Whether the calling code is that of an actor, or of a part of Callboard on its host."""
    return _OF_ACTOR.get(False)


class WorkerTask(asyncio.Task[None]):
    """The task of a worker.

    A handler reaches it by `asyncio.current_task()`, and what it does there would outlive the
    message: a cancellation, a name, a done callback, an entry in a dictionary by task.
    """

    __slots__ = ("changed",)

    changed: "WorkerTask | None"
    """Itself, once somebody has changed it: so one comparison of `holders_of` sees both."""

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, None],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context,
    ) -> None:
        super().__init__(coroutine, loop=loop, context=context)
        self.changed = None  # asyncio has entered it into its set of all tasks.

    def __hash__(self) -> int:
        self.changed = self
        return object.__hash__(self)

    def cancel(self, msg: Any | None = None) -> bool:
        """See `asyncio.Task.cancel`."""
        self.changed = self
        return super().cancel(msg)

    def uncancel(self) -> int:
        """See `asyncio.Task.uncancel`."""
        self.changed = self
        return super().uncancel()

    def set_name(self, value: object, /) -> None:
        """See `asyncio.Task.set_name`."""
        self.changed = self
        super().set_name(value)

    def add_done_callback(
        self, fn: Callable[[Any], object], /, *, context: contextvars.Context | None = None
    ) -> None:
        """See `asyncio.Task.add_done_callback`."""
        self.changed = self
        super().add_done_callback(fn, context=context)
