"""The outcome of each append of a group, decided before the database stores the group.

The writer knows the head of the log and the lengths of the streams. No other process writes while
its epoch stands, and the statement that stores the events checks both. So most groups need no
query first. An append that does not fit may be a repeat, and only the ids in the log show that
(`Plan.doubtful`). A reused id that was not looked up violates a constraint; then all ids are
looked up.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.errors import EventIdReused
from callboard.messages.storage.events import ANY, Append, Appended, NewEvent

from ..rules import check_append, check_new_stream, reused_id, wrong_version

__all__ = ["NONE", "Plan", "Standing", "Stream", "plan_group"]


class Stream(NamedTuple):
    """A stream, as the writer knows it."""

    number: int
    version: int
    last: bytes
    """The id of its last event."""


NONE: Final = Stream(0, 0, b"")
"""A stream without an event."""


class Standing(NamedTuple):
    """The place of an event of the log."""

    stream: str
    version: int
    position: int


@dataclass(slots=True)
class Plan:
    """The outcomes of a group, and the columns of the events to store.

    The events are in the order of their positions, which begin after `head`.
    """

    head: int
    outcomes: list[Appended | CallboardError] = field(default_factory=list)
    doubtful: list[int] = field(default_factory=list)
    """Appends that need a lookup of their ids before a decision."""
    streams: dict[str, Stream] = field(default_factory=dict)
    """The streams that grow."""
    new_streams: dict[str, int] = field(default_factory=dict)
    """Streams with their first event, and their numbers."""
    numbers: list[int] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    events: list[NewEvent] = field(default_factory=list)


def plan_group(
    appends: Sequence[Append],
    *,
    head: int,
    streams: Mapping[str, Stream],
    standing: Mapping[bytes, Standing],
    asked: Collection[int] | None,
    event_bytes_max: int,
) -> Plan:
    """Decide about a group on a log that ends at `head`.

    `streams` holds every existing stream of the group, `standing` the ids that are in the log, and
    `asked` the indices of the appends whose ids were looked up; None means all.
    """
    plan = Plan(head)
    placed: dict[bytes, Standing] = {}
    for index, append in enumerate(appends):
        stream = plan.streams.get(append.stream) or streams.get(append.stream, NONE)
        refused = _malformed(append, event_bytes_max, is_new=not stream.version)
        if refused is not None:
            plan.outcomes.append(refused)
            continue
        found = [placed.get(event.id) or standing.get(event.id) for event in append.events]
        if any(found):
            plan.outcomes.append(_repeated(append, found))
            continue
        if append.expected not in {ANY, stream.version} or append.follows not in {b"", stream.last}:
            if asked is not None and index not in asked:
                plan.doubtful.append(index)
            plan.outcomes.append(wrong_version(append, stream.version))
            continue
        plan.outcomes.append(_keep(plan, append, stream, placed))
    return plan


def _keep(plan: Plan, append: Append, stream: Stream, placed: dict[bytes, Standing]) -> Appended:
    first = plan.head + len(plan.events) + 1
    number, version, _ = stream
    if not version:
        number = plan.new_streams[append.stream] = first
    for offset, event in enumerate(append.events):
        placed[event.id] = Standing(append.stream, version + 1 + offset, first + offset)
    count = len(append.events)
    plan.events += append.events
    plan.numbers += [number] * count
    plan.versions += range(version + 1, version + count + 1)
    plan.streams[append.stream] = Stream(number, version + count, append.events[-1].id)
    return Appended(first, first + count - 1, version + count)


def _repeated(append: Append, found: Sequence[Standing | None]) -> Appended | EventIdReused:
    """The outcome of an append when at least one of its ids is in the log."""
    first = found[0]
    if first is not None and list(found) == [
        Standing(append.stream, first.version + offset, first.position + offset)
        for offset in range(len(found))
    ]:
        last = len(found) - 1
        return Appended(first.position, first.position + last, first.version + last, is_repeat=True)
    return reused_id(append)


def _malformed(append: Append, event_bytes_max: int, *, is_new: bool) -> CallboardError | None:
    """Why no store can take the append; None when a store can."""
    refused = check_append(append, event_bytes_max)
    if refused is None and is_new:
        refused = check_new_stream(append.stream)
    if refused is None and len({event.id for event in append.events}) != len(append.events):
        return reused_id(append)
    return refused
