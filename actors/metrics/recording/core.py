"""The core of a source's way to the aggregators: which batch is sent when, and what is kept.

It is pure: points, answers and `now` go in, `Send`s come out. A batch of one shard:

    unsent --credit, room--> under way --accepted--> gone
       |                      |     ^
       |                  failed    | after a pause, the oldest first
       |                      v     |
       +--dropped, counted   waiting
                              +--refused too often: dropped, counted

Points get their numbers when they are first sent, so what was dropped before leaves no gap. What
was sent keeps its numbers until a shard has accepted it, because it may be in the windows already.
A batch is gone once the shard's `sequence` is beyond it.

For a shard that has lost what it had accepted, a new *generation* begins: the source gets another
name, and numbers what it still has from 0 again. One begins as well when most series of the
dictionaries are not used any more, and nothing is on its way: the earlier one says that it has
ended.

Invariants: `points in = accepted + dropped + kept`; unsent bytes are bounded; a point is in one
batch only; the watermark of a batch is not after any point that was given before it and is not
accepted yet.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ..points import SOURCE_ENDED_NS, MetricSource, PointBatch, PointsAccepted, SourceKind
from ..series import SeriesKey
from .options import RecordingOptions

__all__ = ["POINT_BYTES", "Outgoing", "Send", "ShardPoints"]

POINT_BYTES: Final = 20
"""A point in columns: the number of its series, its time, its value."""
CREDIT_FIRST: Final = 65_536
"""The credit before the first answer."""
PART_BYTES: Final = 600
"""What a part of a queue takes besides its points."""
BEGINNING_NS: Final = 0


class ShardPoints(NamedTuple):
    """Points of one shard. The series are numbered by the shard's own dictionary."""

    series: npt.NDArray[np.int32]
    times_ns: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def part(self, begin: int, end: int) -> "ShardPoints":
        """Some of the points, without a copy."""
        return ShardPoints(self.series[begin:end], self.times_ns[begin:end], self.values[begin:end])


class Send(NamedTuple):
    """Send a batch; report `accepted` or `failed` with this."""

    shard: int
    batch: PointBatch
    generation: int
    accepted_before: int
    """What the shard had accepted when this was sent: it never answers less."""


class _Unsent(NamedTuple):
    points: ShardPoints
    before_ns: int
    """The watermark before these points were given."""
    after_ns: int
    """The watermark once they were given."""


class _Sent:
    __slots__ = ("after_ns", "before_ns", "failures", "is_under_way", "points", "sequence")

    def __init__(self, sequence: int, points: ShardPoints, before_ns: int, after_ns: int) -> None:
        self.sequence = sequence
        self.points = points
        self.before_ns = before_ns
        self.after_ns = after_ns
        self.is_under_way = False
        self.failures = 0
        """How often in a row the shard has failed with it."""

    @property
    def end(self) -> int:
        """The number after its last point."""
        return self.sequence + len(self.points.values)

    def series_needed(self) -> int:
        """How many series of the dictionary it builds on."""
        return 1 + int(self.points.series.max()) if len(self.points.series) else 0


class _Shard:
    """One shard, as this source sees it."""

    __slots__ = (
        "accepted", "credit_end", "ended", "failures", "generation", "is_probed", "keys",
        "known_series", "numbers", "reported_s", "retry_s", "sent", "sequence", "unsent",
        "unsent_bytes", "watermark_ns",
    )  # fmt: skip

    def __init__(self) -> None:
        self.keys: list[SeriesKey] = []
        """The dictionary of this shard."""
        self.numbers: dict[SeriesKey, int] = {}
        self.generation = 0
        self.sequence = 0
        """The number of the next point."""
        self.accepted = 0
        self.known_series = 0
        """The series that the shard knows."""
        self.credit_end = CREDIT_FIRST
        self.unsent: deque[_Unsent] = deque()
        self.unsent_bytes = 0
        self.sent: deque[_Sent] = deque()
        self.is_probed = False
        """Whether an empty batch is under way."""
        self.failures = 0
        self.retry_s = 0.0
        self.reported_s = 0.0
        """When the shard heard of this source last."""
        self.watermark_ns = BEGINNING_NS
        self.ended: tuple[MetricSource, int] | None = None
        """The generation before this one, and the number after its last point, until the shard is
        informed that it has ended."""

    @property
    def under_way(self) -> int:
        return sum(batch.is_under_way for batch in self.sent)


class Outgoing:
    """What one source has for all shards."""

    def __init__(self, kind: SourceKind, name: str, options: RecordingOptions) -> None:
        self._kind: Final = kind
        self._name: Final = name
        self._options: Final = options
        self._shards: Final = [_Shard() for _ in range(options.shards)]
        self.given = 0
        """Points that were given."""
        self.accepted = 0
        """Points that the shards have accepted."""
        self.dropped: Final[dict[str, int]] = {}
        self.retries = 0
        """Batches that were sent again."""
        self.generations = 0
        """New generations."""

    # --- points in ----------------------------------------------------------------------------

    def number_of(self, shard: int, key: SeriesKey) -> int:
        """The number of a series in the dictionary of its shard."""
        found = self._shards[shard]
        number = found.numbers.get(key)
        if number is None:
            number = found.numbers[key] = len(found.keys)
            found.keys.append(key)
        return number

    def give(self, shard: int, points: ShardPoints) -> None:
        """Take points of a shard, and drop the oldest unsent ones when there are too many."""
        count = len(points.values)
        if not count:
            return
        found = self._shards[shard]
        before_ns = found.unsent[-1].after_ns if found.unsent else found.watermark_ns
        found.unsent.append(_Unsent(points, before_ns, before_ns))
        found.unsent_bytes += count * POINT_BYTES + PART_BYTES
        self.given += count
        limit = self._options.limits.unsent_bytes_max
        while self.unsent_bytes > limit:
            # The shard with the most: a shard that is away takes no room from the others.
            fullest = max(self._shards, key=lambda each: each.unsent_bytes)
            self._drop("unsent", self._take_unsent(fullest).points)

    def advance(self, watermark_ns: int) -> None:
        """Note the source's watermark: points that are given later have later times."""
        for shard in self._shards:
            if watermark_ns <= shard.watermark_ns:
                continue
            shard.watermark_ns = watermark_ns
            if shard.unsent:
                shard.unsent[-1] = shard.unsent[-1]._replace(after_ns=watermark_ns)

    @property
    def unsent_bytes(self) -> int:
        """The bytes that were never sent."""
        return sum(shard.unsent_bytes for shard in self._shards)

    @property
    def has_room(self) -> bool:
        """Whether half of the room for unsent points is free."""
        return self.unsent_bytes <= self._options.limits.unsent_bytes_max // 2

    @property
    def kept(self) -> int:
        """The points that no shard has accepted yet."""
        return sum(
            sum(len(part.points.values) for part in shard.unsent)
            + sum(len(batch.points.values) for batch in shard.sent)
            for shard in self._shards
        )

    def renew(self) -> None:
        """Begin with new dictionaries. Only when nothing is kept."""
        assert not self.kept, "points name their series by number"
        for shard in self._shards:
            if shard.sequence:
                shard.ended = self._source_of(shard), shard.sequence
                self._begin_generation(shard)
            shard.keys, shard.numbers = [], {}

    # --- batches out --------------------------------------------------------------------------

    def due(self, now_s: float) -> Iterator[Send]:
        """What is to be sent now."""
        for number, shard in enumerate(self._shards):
            if shard.ended is not None:
                # Once: a shard that does not get this finds the source idle.
                yield self._end_of_source(number, shard, *shard.ended)
                shard.ended = None
            if now_s >= shard.retry_s:
                yield from self._due(number, shard, now_s)

    def next_s(self, now_s: float) -> float:
        """The time at which something may be due although nothing happens."""
        waits = [
            shard.retry_s
            for shard in self._shards
            if (shard.sent or shard.unsent) and shard.retry_s > now_s
        ]
        return min(waits, default=now_s + self._options.watermark_s)

    def _due(self, number: int, shard: _Shard, now_s: float) -> Iterator[Send]:
        limits = self._options.limits
        for batch in shard.sent:
            needs_definitions = batch.series_needed() > shard.known_series
            if not batch.is_under_way and (not shard.under_way or needs_definitions):
                self.retries += 1
                yield self._send(number, shard, batch, now_s)
                break
        # One batch at a time, until the shard answers again.
        at_once = 1 if shard.failures else limits.batches_under_way_max
        while shard.unsent and len(shard.sent) < at_once:
            room = min(limits.batch_points_max, shard.credit_end - shard.sequence)
            if room <= 0:
                break
            batch = self._next_batch(shard, room)
            shard.sent.append(batch)
            yield self._send(number, shard, batch, now_s)
        is_silent = not shard.sent and not shard.is_probed
        # An empty batch: it asks for credit, or reports the watermark of a source that pauses.
        if is_silent and (
            shard.unsent
            or (shard.sequence and now_s >= shard.reported_s + self._options.watermark_s)
        ):
            shard.is_probed = True
            yield self._send(number, shard, self._empty(shard), now_s)

    def _empty(self, shard: _Shard) -> _Sent:
        none = ShardPoints(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.float64))
        before_ns = shard.unsent[0].before_ns if shard.unsent else shard.watermark_ns
        return _Sent(shard.sequence, none, before_ns, before_ns)

    def _end_of_source(self, number: int, shard: _Shard, ended: MetricSource, end: int) -> Send:
        none = self._empty(shard).points
        batch = PointBatch(
            source=ended,
            sequence=end,
            first_series=0,
            new_series=(),
            series=none.series,
            times_ns=none.times_ns,
            values=none.values,
            watermark_ns=SOURCE_ENDED_NS,
        )
        return Send(number, batch, shard.generation - 1, 0)

    def _next_batch(self, shard: _Shard, room: int) -> _Sent:
        """The oldest unsent points, as many as there is room for."""
        parts: list[ShardPoints] = []
        before_ns = after_ns = shard.unsent[0].before_ns
        while shard.unsent and room:
            part = self._take_unsent(shard)
            count = len(part.points.values)
            if count > room:
                rest = part._replace(points=part.points.part(room, count))
                shard.unsent.appendleft(rest)
                shard.unsent_bytes += (count - room) * POINT_BYTES + PART_BYTES
                parts.append(part.points.part(0, room))
                break
            parts.append(part.points)
            room -= count
            after_ns = part.after_ns
        points = parts[0]
        if len(parts) > 1:
            points = ShardPoints(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        batch = _Sent(shard.sequence, points, before_ns, after_ns)
        shard.sequence = batch.end
        return batch

    def _take_unsent(self, shard: _Shard) -> _Unsent:
        part = shard.unsent.popleft()
        shard.unsent_bytes -= len(part.points.values) * POINT_BYTES + PART_BYTES
        return part

    def _send(self, number: int, shard: _Shard, batch: _Sent, now_s: float) -> Send:
        batch.is_under_way = True
        shard.reported_s = now_s
        oldest = shard.sent[0] if shard.sent else batch
        first = shard.known_series
        return Send(
            number,
            PointBatch(
                source=self._source_of(shard),
                sequence=batch.sequence,
                first_series=first,
                new_series=tuple(shard.keys[first : batch.series_needed()]),
                series=batch.points.series,
                times_ns=batch.points.times_ns,
                values=batch.points.values,
                watermark_ns=batch.after_ns if oldest is batch else oldest.before_ns,
            ),
            shard.generation,
            shard.accepted,
        )

    def _source_of(self, shard: _Shard) -> MetricSource:
        name = f"{self._name}+{shard.generation}" if shard.generation else self._name
        return MetricSource(kind=self._kind, name=name)

    # --- answers ------------------------------------------------------------------------------

    def accept(self, send: Send, answer: PointsAccepted, now_s: float) -> None:
        """A shard has answered."""
        shard = self._shards[send.shard]
        if send.generation != shard.generation:
            return
        batch = self._answered(shard, send)
        if answer.sequence < send.accepted_before or answer.sequence > shard.sequence:
            self._begin_generation(shard)
            self._pause(shard, now_s)
            return
        before, shard.known_series = shard.accepted, max(0, min(answer.series, len(shard.keys)))
        if answer.sequence >= shard.accepted:
            shard.accepted = answer.sequence
            shard.credit_end = answer.sequence + max(0, answer.credit)
        while shard.sent and shard.sent[0].end <= shard.accepted:
            self.accepted += len(shard.sent.popleft().points.values)
        is_stuck = batch is not None and batch in shard.sent and shard.accepted == before
        has_no_credit = bool(shard.unsent) and shard.credit_end <= shard.sequence
        if (is_stuck and not shard.under_way) or (has_no_credit and not shard.sent):
            self._pause(shard, now_s)
        else:
            shard.failures = 0
            shard.retry_s = 0.0

    def fail(self, send: Send, now_s: float, *, is_refusal: bool) -> None:
        """A batch has not arrived, or nobody knows; `is_refusal`: the shard failed with it."""
        shard = self._shards[send.shard]
        if send.generation != shard.generation:
            return
        batch = self._answered(shard, send)
        self._pause(shard, now_s)
        if batch is None or not is_refusal:
            return
        batch.failures += 1
        if batch.failures >= self._options.limits.refusals_max and not shard.under_way:
            # The shard gives its numbers up after a while, and marks its windows as partial.
            shard.sent.remove(batch)
            self._drop("refused", batch.points)

    def _answered(self, shard: _Shard, send: Send) -> _Sent | None:
        if not len(send.batch.values):
            shard.is_probed = False
            return None
        for batch in shard.sent:
            if batch.sequence == send.batch.sequence:
                batch.is_under_way = False
                return batch
        return None  # Accepted by the answer to another batch.

    def _pause(self, shard: _Shard, now_s: float) -> None:
        if now_s < shard.retry_s:
            return  # Another batch of the same moment has failed, too.
        shard.failures += 1
        shard.retry_s = now_s + self._options.backoff.delay_s(shard.failures)

    def _begin_generation(self, shard: _Shard) -> None:
        """Number what is not accepted from 0 on, under another name."""
        self.generations += 1
        shard.generation += 1
        shard.accepted = shard.known_series = shard.sequence = 0
        shard.credit_end = CREDIT_FIRST
        shard.is_probed = False
        for batch in shard.sent:
            batch.sequence = shard.sequence
            batch.is_under_way = False
            batch.failures = 0
            shard.sequence = batch.end

    def _drop(self, reason: str, points: ShardPoints) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + len(points.values)
