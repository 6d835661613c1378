"""The mailbox policy: waiting messages when their actor restarts, or ends for good."""

from collections import deque
from typing import Any

from callboard.messages.core.errors import ActorRestarted, ActorStopped

from ..actor import OnRestart
from ..asks import Ask
from ..cell import Cell
from ..monitors.notices import is_notice

__all__ = ["apply_restart_policy", "refuse_waiting", "reopen_mailbox", "stopped_early_error"]


def reopen_mailbox(cell: Cell) -> None:
    """Let a stopping cell take messages, for its next start."""
    if cell.mailbox is None:
        cell.mailbox = deque()  # A stopping cell without a mailbox refuses messages.


def apply_restart_policy(cell: Cell) -> None:
    """The actor of a cell restarts: treat waiting messages as `mailbox_on_restart` says."""
    stashed = cell.dispatcher.stashes.take(cell)
    policy = cell.behaviour.mailbox_on_restart
    if policy is OnRestart.KEEP:
        cell.put_first(stashed)
        return
    dead_letters = cell.dispatcher.dead_letters
    kept: list[Any] = []
    for item in (*stashed, *cell.drain()):
        if is_notice(item):
            kept.append(item)  # The cleanup withdraws the notices of an ended incarnation.
        elif type(item) is Ask:
            item.fail(
                ActorRestarted(
                    f"{cell.path} failed before it handled the request, and keeps no mailbox.",
                    advice="Ask again: the next incarnation will answer.",
                    may_have_run=False,
                )
            )
        elif policy is OnRestart.DROP:
            dead_letters.counts["dropped_at_restart"] += 1
        else:
            dead_letters.dead("restarted", cell.path, item)
    cell.put_first(kept)
    if cell.room_waiters is not None:
        cell.notify_room_waiters()


def refuse_waiting(cell: Cell) -> None:
    """The actor of a cell has ended: fail waiting asks; waiting tells become dead letters."""
    dispatcher = cell.dispatcher
    waiting = cell.drain()
    stashed = dispatcher.stashes.take(cell)
    for item in (*stashed, *waiting) if stashed else waiting:
        failure = dispatcher.redelivery.last_failure(cell, item)
        if type(item) is Ask:
            item.fail(failure or stopped_early_error(cell, may_have_run=False))
        elif failure is not None:
            dispatcher.dead_letters.dead("handler_failed", cell.path, item, failure)
        else:
            dispatcher.dead_letters.dead("actor_stopped", cell.path, item)
    if cell.room_waiters is not None:
        cell.notify_room_waiters()


def stopped_early_error(cell: Cell, *, may_have_run: bool) -> ActorStopped:
    """The error for an asker whose actor stopped before it answered."""
    when = "while" if may_have_run else "before"
    return ActorStopped(
        f"{cell.path} stopped {when} it handled the request.",
        advice="Look it up again, or spawn another one.",
        may_have_run=may_have_run,
        slot=cell.dispatcher.host.slot,
        cell=cell.id,
    )
