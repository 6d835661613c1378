"""The histories of failed children: the last exits of each, with the decisions.

Each supervisor keeps them for people who ask why a child was restarted. A child that never
fails has no history of its own. The history of a forgotten child stays until newer ones need the
room. A group restart is recorded once, with the numbers of its members: so it removes no history
of a child that failed, and the history of a member names the sibling that took it down.

Invariant: at most `CHILDREN_KEPT` histories of at most `ENTRIES_KEPT` exits each, at most
`GROUPS_KEPT` group restarts with `MEMBERS_KEPT` members in all, and no text in them is longer than
`TEXT_CHARS_MAX`.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from operator import attrgetter
from typing import Any, Final, NamedTuple, final

from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import ChildId

from .views import ChildHistory, Decision, HistoryEntry

__all__ = [
    "CHILDREN_KEPT",
    "ENTRIES_KEPT",
    "GROUPS_KEPT",
    "MEMBERS_KEPT",
    "TEXT_CHARS_MAX",
    "ChildHistories",
]

ENTRIES_KEPT: Final = 16
"""Exits of one child: five times the default intensity, so a history holds the whole run
that led to an escalation."""

CHILDREN_KEPT: Final = 256
"""Children of one supervisor with a history; the one that failed longest ago goes first."""

GROUPS_KEPT: Final = 64
"""Group restarts of one supervisor."""

MEMBERS_KEPT: Final = 20_000
"""Members of all these groups together; of a larger group, the first ones."""

TEXT_CHARS_MAX: Final = 4_000
"""A longer traceback loses its beginning: its end names the error."""

NESTED_MAX: Final = 16
"""Supervisors that an escalation may pass through; beyond, its first cause stays unknown."""


class _Group(NamedTuple):
    """One restart of a group: the entry of its members, and who they were."""

    restarted: HistoryEntry
    ended: HistoryEntry
    members: dict[ChildId, bool]
    """Whether the member comes back."""

    def entry_of(self, child_id: ChildId) -> HistoryEntry | None:
        """The entry of a member; None for another child."""
        comes_back = self.members.get(child_id)
        if comes_back is None:
            return None
        return self.restarted if comes_back else self.ended


@final
class ChildHistories:
    """The histories of one supervisor's children."""

    __slots__ = ("_groups", "_histories", "_members")

    def __init__(self) -> None:
        self._histories: dict[ChildId, deque[HistoryEntry]] = {}
        self._groups: deque[_Group] = deque()
        self._members = 0

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

    def record_group(self, owner: ChildId, members: Iterable[tuple[ChildId, bool]]) -> None:
        """Record the other members of the group that the last recorded exit of `owner` ended.

        Each member comes with whether it starts again.
        """
        known = dict(islice(members, MEMBERS_KEPT))
        if not known:
            return
        cause = self._histories[owner][-1]
        restarted, ended = (
            replace(cause, traceback="", decision=decision, sibling=owner)
            for decision in (Decision.RESTARTED_AS_MEMBER, Decision.ENDED_AS_MEMBER)
        )
        self._groups.append(_Group(restarted, ended, known))
        self._members += len(known)
        while len(self._groups) > GROUPS_KEPT or self._members > MEMBERS_KEPT:
            self._members -= len(self._groups.popleft().members)

    def of(self, child_id: ChildId) -> ChildHistory:
        """The history of one child, oldest exit first; empty if nothing ever restarted it."""
        own = self._histories.get(child_id, ())
        found = (group.entry_of(child_id) for group in self._groups)
        shared = [entry for entry in found if entry is not None]
        entries = sorted((*own, *shared), key=attrgetter("at_s"))
        return ChildHistory(child_id, tuple(entries[-ENTRIES_KEPT:]))


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
