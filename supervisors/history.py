"""The histories of failed children: the last exits of each, with the decisions.

Each supervisor keeps them for people who ask why a child was restarted. A child that never
fails has no history. The history of a forgotten child stays until newer ones need the room.

Invariant: at most `CHILDREN_KEPT` histories of at most `ENTRIES_KEPT` exits each, and no
text in them is longer than `TEXT_CHARS_MAX`.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, final

from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import ChildId

from .views import ChildHistory, Decision, HistoryEntry

__all__ = ["CHILDREN_KEPT", "ENTRIES_KEPT", "TEXT_CHARS_MAX", "ChildHistories"]

ENTRIES_KEPT: Final = 16
"""Exits of one child: five times the default intensity, so a history holds the whole run
that led to an escalation."""

CHILDREN_KEPT: Final = 256
"""Children of one supervisor with a history; the one that failed longest ago goes first."""

TEXT_CHARS_MAX: Final = 4_000
"""A longer traceback loses its beginning: its end names the error."""

NESTED_MAX: Final = 16
"""Supervisors that an escalation may pass through; beyond, its first cause stays unknown."""


@final
class ChildHistories:
    """The histories of one supervisor's children."""

    __slots__ = ("_histories",)

    def __init__(self) -> None:
        self._histories: dict[ChildId, deque[HistoryEntry]] = {}

    def record(
        self,
        child_id: ChildId,
        incarnation: int,
        exit_: Exit,
        at_s: float,
        decision: Decision,
        delay_s: float = 0.0,
    ) -> None:
        """Record one exit."""
        histories = self._histories
        entries = histories.pop(child_id, None)
        if entries is None:
            entries = deque(maxlen=ENTRIES_KEPT)
            if len(histories) >= CHILDREN_KEPT:
                del histories[next(iter(histories))]
        histories[child_id] = entries  # the first is the one that failed longest ago
        message, traceback = _cause_of(exit_)
        entries.append(
            HistoryEntry(at_s, incarnation, exit_.kind, message, traceback, decision, delay_s)
        )

    def of(self, child_id: ChildId) -> ChildHistory:
        """The history of one child, oldest exit first; empty for one that never failed."""
        return ChildHistory(child_id, tuple(self._histories.get(child_id, ())))


def _cause_of(exit_: Exit) -> tuple[str, str]:
    """The message and the traceback of an exit; for an escalation, those of its first cause."""
    detail: Mapping[str, Any] = exit_.detail
    causes = []
    for _ in range(NESTED_MAX):
        nested = detail.get("exit")
        if not isinstance(nested, Mapping):
            break
        causes.append(f"{detail.get('cause', 'escalation')} of child {detail.get('child')}")
        inner = nested.get("detail")
        detail = inner if isinstance(inner, Mapping) else {}
    details = detail.get("details")
    source = details if isinstance(details, Mapping) else detail
    message = str(detail.get("message", "")) or str(source.get("remote_text", ""))
    text = ": ".join([*causes, message]) if message else ": ".join(causes)
    return text[:TEXT_CHARS_MAX], str(source.get("remote_traceback", ""))[-TEXT_CHARS_MAX:]
