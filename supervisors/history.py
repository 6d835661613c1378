"""What became of children that failed: the last ends of each, and what was decided.

Kept per supervisor, for people who ask why something was restarted. A child that never
fails leaves nothing here; a child that was forgotten leaves its story until newer ones
need the room.

Invariant: at most `CHILDREN_KEPT` stories of at most `ENTRIES_KEPT` ends each, and no
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
"""Ends of one child: five times the default intensity, so the row that led to an
escalation is there as a whole."""

CHILDREN_KEPT: Final = 256
"""Children of one supervisor that have a story; the one that failed longest ago goes first."""

TEXT_CHARS_MAX: Final = 4_000
"""A longer traceback is kept from its end, where it says what was raised."""

NESTED_MAX: Final = 16
"""Supervisors that an escalation came through before its first cause is no longer looked for."""


@final
class ChildHistories:
    """The stories of one supervisor's children."""

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
        """Write one end down."""
        histories = self._histories
        story = histories.pop(child_id, None)
        if story is None:
            story = deque(maxlen=ENTRIES_KEPT)
            if len(histories) >= CHILDREN_KEPT:
                del histories[next(iter(histories))]
        histories[child_id] = story  # last: the first is always the one that failed longest ago
        message, traceback = _told(exit_)
        story.append(
            HistoryEntry(at_s, incarnation, exit_.kind, message, traceback, decision, delay_s)
        )

    def of(self, child_id: ChildId) -> ChildHistory:
        """The story of one child, oldest end first; empty for one that never failed."""
        return ChildHistory(child_id, tuple(self._histories.get(child_id, ())))


def _told(exit_: Exit) -> tuple[str, str]:
    """Message and traceback of an end; of an escalation, those of what began it."""
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
