"""The writer's core: what waits, which group is under way, and what becomes of a failed commit.

One group is under way at a time; what arrives meanwhile is the next group. So the groups grow
with the load, and a lone append is committed at once.

| state | event | next state | what happens |
|---|---|---|---|
| idle | an append arrives | committing | it is the group |
| committing | committed | idle, or committing | each append gets its own outcome; the next group |
| committing | may help to wait | backing off | the same group again, later: ids make that safe |
| committing | the same, out of patience | idle, or committing | the group's appends fail |
| committing | fenced, or damaged | broken | everything fails, now and from now on |
| backing off | due | committing | the same group once more |
| any | closed | as it is | nothing is taken any more; what waits is still committed |

Patience belongs to an outage, not to a group: once it is used up, each further group is tried
once, until a commit succeeds.

Invariants: `waiting_events` is the number of events in `waiting`; at most one group is under
way; an append that was taken in gets exactly one outcome.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Any, Final, NamedTuple

from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import ActorStopped, CallboardError, MailboxFull, StoreFailed
from callboard.messages.storage.errors import StoreDamaged, WriterFenced
from callboard.messages.storage.events import Append

__all__ = ["GroupCommit", "JournalLimits", "Outcome", "Submitted", "Writing"]


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """The bounds of one writer."""

    waiting_events: int = 200_000
    """Events that may wait; beyond that an append is refused, or waits for room."""
    waiting_bytes: int = 256 * 2**20
    group_events: int = 16_384
    """Events of one commit; a larger append is a group of its own."""
    group_bytes: int = 32 * 2**20
    patience_s: float = 30.0
    """How long an outage of the store is waited out before appends fail."""
    retry_first_s: float = 0.02
    """The first wait; each further one is twice as long, up to `retry_max_s`."""
    retry_max_s: float = 1.0


class Writing(StrEnum):
    """What the writer does."""

    IDLE = auto()
    COMMITTING = auto()
    BACKING_OFF = auto()
    BROKEN = auto()


Submitted = tuple[Append, Any, int]
"""An append, whatever its submitter is told by (opaque here), and its bytes.

A plain tuple: there is one for each append of the log.
"""


class Outcome(NamedTuple):
    """What became of a group: its appends that fail, and when to try again."""

    failed: Sequence[Submitted]
    error: CallboardError | None
    retry_s: float | None


class GroupCommit:
    """Decides for one writer; times in seconds of any clock that does not go back."""

    def __init__(self, limits: JournalLimits) -> None:
        self.limits: Final = limits
        self.state = Writing.IDLE
        self.waiting: Final[deque[Submitted]] = deque()
        self.waiting_events = 0
        self.waiting_bytes = 0
        self.broken: CallboardError | None = None
        self.is_closed = False
        self._group: list[Submitted] = []
        self._backoff = Backoff(min(limits.retry_first_s, limits.retry_max_s), limits.retry_max_s)
        self._down_since: float | None = None
        self._tries = 0

    @property
    def has_room(self) -> bool:
        """Whether an append would be taken in."""
        limits = self.limits
        return (
            self.waiting_events < limits.waiting_events
            and self.waiting_bytes < limits.waiting_bytes
        )

    @property
    def is_done(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not self.waiting and not self._group

    def add(self, append: Append, token: Any) -> None:
        """Take an append in. Raises `MailboxFull`, or why the writer has ended."""
        if self.broken is not None or self.is_closed or not self.has_room:
            raise self._refusal()
        size = 0
        for _, _, data, _, metadata in append.events:
            size += len(data) + len(metadata)
        self.waiting.append((append, token, size))
        self.waiting_events += len(append.events)
        self.waiting_bytes += size

    def _refusal(self) -> CallboardError:
        if self.broken is not None:
            return self.broken
        if self.is_closed:
            return ActorStopped("the journal is closed.", may_have_run=False)
        return MailboxFull(
            f"{self.waiting_events} events ({self.waiting_bytes} bytes) wait for the journal: "
            "it takes no more.",
            advice="Append with `await journal.append(...)`, which waits for room.",
            may_have_run=False,
        )

    def take(self) -> list[Submitted] | None:
        """The group to commit now; None when there is none, or one is under way."""
        if self.state is Writing.BACKING_OFF:
            self.state = Writing.COMMITTING
            return self._group
        if self.state is not Writing.IDLE or not self.waiting:
            return None
        self.state = Writing.COMMITTING
        limits, waiting, group = self.limits, self.waiting, self._group
        if self.waiting_events <= limits.group_events and self.waiting_bytes <= limits.group_bytes:
            group += waiting
            waiting.clear()
            self.waiting_events = self.waiting_bytes = 0
            return group
        events = size = 0
        while waiting:
            append, _, bytes_ = waiting[0]
            count = len(append.events)
            if group and (
                events + count > limits.group_events or size + bytes_ > limits.group_bytes
            ):
                break
            events += count
            size += bytes_
            group.append(waiting.popleft())
        self.waiting_events -= events
        self.waiting_bytes -= size
        return group

    def committed(self) -> None:
        """The group under way has its outcomes."""
        self._next()
        self._down_since = None
        self._tries = 0

    def failed(self, error: CallboardError, now: float) -> Outcome:
        """The group under way could not be committed."""
        if isinstance(error, WriterFenced | StoreDamaged) or not isinstance(error, StoreFailed):
            return self._break(error)
        if self._down_since is None:
            self._down_since, self._tries = now, 0
        self._tries += 1
        wait_s = self._backoff.delay_s(self._tries)
        if now + wait_s - self._down_since <= self.limits.patience_s:
            self.state = Writing.BACKING_OFF
            return Outcome((), None, wait_s)
        failed = tuple(self._group)
        self._next()
        return Outcome(failed, error, None)

    def _break(self, error: CallboardError) -> Outcome:
        failed = (*self._group, *self.waiting)
        self._group = []
        self.waiting.clear()
        self.waiting_events = self.waiting_bytes = 0
        self.state, self.broken = Writing.BROKEN, error
        return Outcome(failed, error, None)

    def _next(self) -> None:
        self._group = []
        self.state = Writing.IDLE

    def give_up(self, error: CallboardError) -> Outcome:
        """End at once: whatever has no outcome fails."""
        return self._break(error)

    def close(self) -> None:
        """Take nothing in any more."""
        self.is_closed = True
