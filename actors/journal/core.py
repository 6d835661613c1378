"""The writer's core: the queue of appends, the group under way, and failed commits.

One group is under way at a time. The appends that arrive meanwhile form the next group. So
groups grow with the load, and a single append is committed at once.

| state | event | next state | action |
|---|---|---|---|
| idle | an append arrives | committing | it forms the group |
| committing | success | idle, or committing | each append gets its outcome; then the next group |
| committing | a failure that may pass | backing off | the same group later: ids make that safe |
| committing | the same, out of patience | idle, or committing | the group's appends fail |
| committing | fenced, or damaged | broken | all appends fail, now and from now on |
| backing off | the wait is over | committing | the same group again |
| any | close | unchanged | no more appends enter; those that wait are still committed |

Patience belongs to an outage, not to a group. When it is used up, each further group is tried
once, until a commit succeeds.

Invariants: `waiting_events` is the number of events in `waiting`; at most one group is under
way; an append that entered gets exactly one outcome.
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
    """The limits of one writer; times in seconds."""

    waiting_events: int = 200_000
    """Events that may wait. With more, `append` waits for room and `submit` raises."""
    waiting_bytes: int = 256 * 2**20
    """Bytes of data and metadata that may wait."""
    group_events: int = 16_384
    """Events of one commit; a larger append is a group of its own."""
    group_bytes: int = 32 * 2**20
    """Bytes of one commit; a larger append is a group of its own."""
    patience_s: float = 30.0
    """How long an outage of the store may last before appends fail."""
    retry_first_s: float = 0.02
    """The first wait before a retry; each further one is twice as long, up to `retry_max_s`."""
    retry_max_s: float = 1.0


class Writing(StrEnum):
    """The state of the writer."""

    IDLE = auto()
    COMMITTING = auto()
    BACKING_OFF = auto()
    BROKEN = auto()


Submitted = tuple[Append, Any, int]
"""An append, the token of its submitter (opaque here), and its size in bytes.

A plain tuple: there is one for each append of the log.
"""


class Outcome(NamedTuple):
    """The outcome of a failed commit: the appends that fail, and the wait before a retry."""

    failed: Sequence[Submitted]
    error: CallboardError | None
    """The error of the appends that fail."""
    retry_s: float | None
    """The wait before the same group is retried; None for no retry."""


class GroupCommit:
    """The decisions of one writer; times in seconds of a monotonic clock."""

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
        """Whether there is room for another append."""
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
        """Add an append to the queue. Raises `MailboxFull`, or the error that ended the writer."""
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
            f"the journal is full: {self.waiting_events} events ({self.waiting_bytes} bytes) wait.",
            advice="Append with `await journal.append(...)`, which waits for room.",
            may_have_run=False,
        )

    def take(self) -> list[Submitted] | None:
        """The group to commit now; None when no append waits, or a group is under way."""
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

    def note_commit(self) -> None:
        """Note the success of the commit under way."""
        self._next()
        self._down_since = None

    def note_failure(self, error: CallboardError, now: float) -> Outcome:
        """Note the failure of the commit under way; gives what follows."""
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
        """End at once: all appends without an outcome fail."""
        return self._break(error)

    def close(self) -> None:
        """Refuse further appends."""
        self.is_closed = True
