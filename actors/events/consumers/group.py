"""A named group of competing consumers over a log.

The group reads the log by a subscription, and `ConsumersCore` assigns events to consumers. The
read model `consumers/NAME` has the durable state: the checkpoint (its position), the events that
are done above it, the parked events, and the owner. One transaction writes all of it.

Delivery is at least once: after a crash, events that were acknowledged after the last save
(`save_every_s`, and at `close`) are delivered again. A group has one owner at a time: the process
that opens it takes it over, and the next save of the earlier owner fails with `GroupTaken`.
Events that the codec skips count as done.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from callboard.messages.core.errors import CallboardError, InternalError, UsageError
from callboard.messages.core.names import check_name
from callboard.messages.storage.errors import CommitUnknown, StoreUnavailable
from callboard.messages.storage.events import RecordedEvent
from callboard.messages.storage.stores import ReadModelStore

from ...kernel.failures import ends_task, text_of
from ...kernel.inspection.metric_sources import Name, Reading
from ...kernel.interrupts import is_interrupt
from ...kernel.threads import ThreadRunner
from ..codec import Event, EventCodec
from ..errors import GroupTaken
from ..log import EventLog
from ..subscription.core import RETRY
from ..subscription.reader import Follower
from ..subscription.subscription import Subscription
from .consumer import Consumer, Delivery
from .core import ConsumersCore, ConsumersLimits, Deliver, Effect, Park
from .stored_group import KeptGroup, ParkedRow, TakenOver

__all__ = ["ConsumerGroup", "ConsumersStatistics", "Parked"]

LOGGER: Final = logging.getLogger("callboard.events")
SAVE_EVERY_S: Final = 0.5
"""The time between two saves in seconds; a crash repeats at most the events of that time."""
PARKED_PAGE: Final = 1_000

KeyOf = Callable[[Event], str]
Handle = Callable[[Event], Awaitable[None]]


class Parked(NamedTuple):
    """An event whose attempts have all failed."""

    event: Event
    """The event; its `body` is None when the codec does not know it."""
    attempts: int
    reasons: tuple[str, ...]
    """The reasons of its last failed attempts."""


@dataclass(frozen=True, slots=True)
class ConsumersStatistics:
    """The figures of a group; counts are since it was opened."""

    checkpoint: int
    """Every event up to this position is done or parked, and that is saved."""
    head: int
    """The position of the log's last event, as far as is known."""
    lag_positions: int
    """How many positions the checkpoint is behind the log's head."""
    open: int
    """Events that were taken in and are neither done nor parked."""
    parked: int
    """Events that failed too often, and wait for a person."""
    consumers: int
    """Consumers that are connected."""
    acks: int
    """Deliveries that were acknowledged."""
    nacks: int
    """Deliveries that a consumer refused."""
    timeouts: int
    """Deliveries without an answer in time."""
    late: int
    """Acknowledgements that came too late."""
    parkings: int
    """Events that were parked."""
    save_failures: int
    """Failures to save the checkpoint; it is tried again."""


class ConsumerGroup:
    """Delivers each event of a log to one of its consumers, until it is done or parked.

    `source` is the log, or a `Follower` of it that groups and subscriptions share. `stream` or
    `kinds` select events. `key` gives the partition of an event: events of one key are delivered
    one after another, in their order. Without `key` no order is promised. Belongs to one event
    loop.
    """

    def __init__(
        self,
        name: str,
        source: EventLog | Follower,
        codec: EventCodec,
        models: ReadModelStore,
        *,
        stream: str | None = None,
        kinds: Sequence[str] | None = None,
        key: KeyOf | None = None,
        limits: ConsumersLimits | None = None,
        save_every_s: float = SAVE_EVERY_S,
    ) -> None:
        self.name: Final = check_name("the name of a group of consumers is", name, field="name")
        self._source = source
        self._log = source.log if isinstance(source, Follower) else source
        self._codec = codec
        self._kept = KeptGroup(name, models)
        self._stream, self._kinds, self._key_of = stream, kinds, key
        self._limits = limits or ConsumersLimits()
        self._save_every_s = save_every_s
        self._threads = ThreadRunner("consumers")
        self._loop = asyncio.get_running_loop()
        self._core = ConsumersCore(self._limits, 0)
        self._events: dict[int, Event] = {}
        """The events of all open entries."""
        self._version = 0
        """For the group of a stream: the version of the event that was taken in last."""
        self._saved = 0
        self._changes: dict[int, ParkedRow | None] = {}
        """Rows of parked events that are not saved yet; None deletes a row."""
        self._is_dirty = False
        self._save_failures = 0
        self._saving = asyncio.Lock()
        self._consumers: dict[str, Consumer] = {}
        self._subscription: Subscription | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._replays: set[int] = set()
        self._is_saving = True
        """Whether acknowledgements can still be saved."""
        self._room = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = 0.0
        self._error: CallboardError | None = None
        self._is_closed = False

    # --- open and close ---------------------------------------------------------------------

    async def open(self) -> None:
        """Take the group over, and begin at its checkpoint. Raises what the stores raise."""
        try:
            self._saved, done, self._version = await self._threads.call(self._kept.take_over)
            self._core = ConsumersCore(self._limits, self._saved, done)
            after = 0
            while rows := await self._threads.call(self._kept.parked, after, PARKED_PAGE):
                for row in rows:
                    self._core.keep_parked(row.position, row.key, row.reasons)
                after = rows[-1].position
        except BaseException:
            self._threads.close()
            raise
        self._subscription = Subscription(
            self._source,
            self._codec,
            after=self._version if self._stream is not None else self._saved,
            stream=self._stream,
            kinds=self._kinds,
        )
        self._tasks = [
            self._loop.create_task(self._guarded(work)) for work in (self._feed, self._keep_saved)
        ]

    async def close(self) -> None:
        """Save the progress, and end the group and its consumers. May be called twice.

        The next owner of the group delivers events without acknowledgement again.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._subscription is not None:
            self._subscription.close()
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # Without `remove_consumer`: closing in order is no failed attempt.
        consumers, self._consumers = self._consumers, {}
        for consumer in consumers.values():
            consumer.close()
        try:
            if self._is_saving and self._tasks and self._has_unsaved:
                await self._save()
        finally:
            self._threads.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self.close()

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except BaseException as error:
            if ends_task(error):
                raise
            failure = error if isinstance(error, CallboardError) else None
            if failure is None:
                failure = InternalError(f"the consumers {self.name!r} failed: {error!r}.")
                failure.__cause__ = error
            LOGGER.error("The consumers %r have stopped: %s", self.name, failure)  # noqa: TRY400 - every consumer raises it
            self._error = self._error or failure
            self._is_saving = self._is_saving and work != self._keep_saved
            for consumer in tuple(self._consumers.values()):
                consumer.end(self._error)

    # --- consumers --------------------------------------------------------------------------

    def consumer(self, name: str, *, capacity: int = 1) -> Consumer:
        """A new consumer that has at most `capacity` events at once; close it at the end.

        Raises `SpecError` for a name in use, `UsageError` when the group is not open, and the
        error that stopped the group, if it has stopped.
        """
        if self._error is not None:
            raise self._error
        if self._is_closed or not self._tasks:
            raise UsageError(f"the group {self.name!r} is not open.", advice="Open it first.")
        check_name("the name of a consumer is", name, field="name")
        consumer = Consumer(self, name)
        # Add it before its first delivery, and remove it if the name is in use.
        others = self._consumers
        self._consumers = {name: consumer, **others}
        try:
            self._perform(self._core.add_consumer(name, capacity, self._loop.time()))
        except CallboardError:
            self._consumers = others
            raise
        return consumer

    async def run(self, handle: Handle, *, consumers: int = 1) -> None:
        """Handle events with this number of consumers until the group is closed.

        An event whose `handle` returns is acknowledged; an exception is a failed attempt with
        the exception as its reason. Raises the error that stopped the group, if it has stopped,
        and what `consumer` raises.
        """

        async def work(number: int) -> None:
            with self.consumer(f"{self.name}-{number}") as consumer:
                async for delivery in consumer:
                    error = await self._attempt(handle, delivery.event)
                    if error is None:
                        delivery.ack()
                    else:
                        delivery.nack(text_of(error))

        try:
            async with asyncio.TaskGroup() as group:
                for number in range(consumers):
                    group.create_task(work(number))
        except ExceptionGroup as errors:
            # All consumers raise the same error.
            raise errors.exceptions[0] from None

    async def _attempt(self, handle: Handle, event: Event) -> BaseException | None:
        """Handle one event; returns what `handle` raises.

        A task for each: what a handler does to its context or task must not reach the next event.
        """
        failure: BaseException | None = None

        async def attempt() -> None:
            nonlocal failure
            try:
                await handle(event)
            except BaseException as error:
                if is_interrupt(error):
                    raise
                failure = error

        running = self._loop.create_task(attempt())
        try:
            await asyncio.wait((running,))
        except asyncio.CancelledError:  # Only of this consumer: `wait` raises nothing of the task.
            running.cancel()
            await asyncio.wait((running,))
            raise
        return failure

    def remove_consumer(self, name: str) -> None:
        """Remove a consumer; called by `Consumer.close`."""
        if self._consumers.pop(name, None) is not None:
            self._perform(self._core.remove_consumer(name, self._loop.time()))

    def has(self, delivery: Delivery) -> bool:
        """Whether a delivery may still be acknowledged."""
        position = delivery.event.position
        return self._core.has(delivery.consumer, position, delivery.attempt)

    def ack(self, delivery: Delivery) -> bool:
        """See `Delivery.ack`."""
        if self._is_closed or not self._is_saving:
            return False
        position = delivery.event.position
        taken, effects = self._core.ack(
            delivery.consumer, position, delivery.attempt, self._loop.time()
        )
        if taken:
            self._remove(position)
        self._perform(effects)
        return taken

    def nack(self, delivery: Delivery, reason: str) -> bool:
        """See `Delivery.nack`."""
        if self._is_closed or not self._is_saving:
            return False
        taken, effects = self._core.nack(
            delivery.consumer,
            delivery.event.position,
            delivery.attempt,
            reason,
            self._loop.time(),
        )
        self._perform(effects)
        return taken

    def _remove(self, position: int) -> None:
        del self._events[position]
        if position in self._replays:
            self._replays.discard(position)
            self._changes[position] = None
        self._is_dirty = True

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Deliver(position, name, attempt):
                    event = self._events[position]
                    self._consumers[name].give(Delivery(self, name, event, attempt))
                case Park(position, attempts, reasons):
                    event = self._events.pop(position)
                    self._replays.discard(position)
                    key = self._core.parked[position].key
                    self._changes[position] = ParkedRow(position, attempts, key, reasons)
                    self._is_dirty = True
                    LOGGER.warning(
                        "The consumers %r have parked the event at %d (%s) after %d attempts: %s",
                        self.name,
                        position,
                        event.recorded.kind,
                        attempts,
                        reasons[-1],
                    )
        self._room.set()
        self._set_timer()

    def _set_timer(self) -> None:
        due_s = self._core.due_s
        if due_s is None or self._is_closed:
            return
        if self._timer is None or due_s < self._timer_at_s:
            if self._timer is not None:
                self._timer.cancel()
            # Of a time that has passed, uvloop makes a handle that does not know its time.
            self._timer_at_s = due_s
            self._timer = self._loop.call_at(due_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if not self._is_closed and self._error is None:
            self._perform(self._core.tick(self._loop.time()))

    # --- work -------------------------------------------------------------------------------

    async def _feed(self) -> None:
        assert self._subscription is not None
        core, subscription = self._core, self._subscription
        while not self._is_closed:
            rest = await subscription.next_page(self._save_every_s)
            while rest:
                while core.room <= 0:
                    self._room.clear()
                    await self._room.wait()
                now, rest = rest[: core.room], rest[core.room :]
                self._take_in(now)
            core.skip_to(subscription.position)

    def _take_in(self, events: list[Event]) -> None:
        key_of = self._key_of
        rows = [(e.position, None if key_of is None else key_of(e)) for e in events]
        self._events.update((event.position, event) for event in events)
        self._version = events[-1].recorded.version
        effects = self._core.take_in(rows, self._loop.time())
        # Events that an earlier incarnation of the group has done are not open.
        for position, _ in rows:
            if position not in self._core.entries:
                self._events.pop(position, None)
        self._perform(effects)

    async def _keep_saved(self) -> None:
        failures = 0
        while True:
            await asyncio.sleep(RETRY.delay_s(failures) if failures else self._save_every_s)
            if not self._has_unsaved:
                continue
            try:
                await self._save()
            except (StoreUnavailable, CommitUnknown) as error:
                failures += 1
                self._save_failures += 1
                LOGGER.warning("The progress of %r could not be saved: %s", self.name, error)
            else:
                failures = 0

    async def flush(self) -> None:
        """Save the progress now. Raises `GroupTaken`, and what the store raises."""
        await self._save()

    @property
    def _has_unsaved(self) -> bool:
        return self._is_dirty or self._core.checkpoint != self._saved

    async def _save(self) -> None:
        async with self._saving:
            core = self._core
            now = TakenOver(core.checkpoint, core.done_above(), self._version_done())
            changes, self._changes = self._changes, {}
            self._is_dirty = False
            try:
                await self._threads.call(self._kept.write, now, changes)
            except BaseException as error:
                # The write may have happened; a second one does no harm.
                self._changes = {**changes, **self._changes}
                self._is_dirty = True
                self._is_saving = self._is_saving and not isinstance(error, GroupTaken)
                raise
            self._saved = now.checkpoint

    def _version_done(self) -> int:
        first = self._core.first_open
        return self._version if first is None else self._events[first].recorded.version - 1

    # --- parked events ------------------------------------------------------------------------

    async def parked(self, *, after: int = 0, limit: int = 100) -> list[Parked]:
        """Parked events with positions above `after`, at most `limit`; replayed ones included."""
        await self._save()
        found: list[Parked] = []
        for row in await self._threads.call(self._kept.parked, after, limit):
            recorded = await self._recorded(row.position)
            event = Event(self._codec.body_of(recorded), recorded)
            found.append(Parked(event, row.attempts, row.reasons))
        return found

    async def replay(self, position: int) -> None:
        """Deliver a parked event again, with its attempts from 0.

        In the store it stays parked until it is done, in case of a crash. Raises `UsageError`
        when it is not parked, and `UnknownEvent` or `EventUnreadable` when it cannot be read.
        """
        self._check_parked(position)
        event = self._codec.decode(await self._recorded(position))
        self._check_parked(position)
        if event is None:
            raise UsageError(
                f"the codec skips the event at {position}, which it does not know.",
                advice="Give the codec its contract, or drop the event.",
            )
        self._events[position] = event
        self._replays.add(position)
        self._perform(self._core.replay(position, self._loop.time()))

    async def drop(self, position: int) -> None:
        """Drop a parked event for good. Raises `UsageError` when it is not parked."""
        self._check_parked(position)
        self._core.drop(position)
        self._changes[position] = None
        await self._save()

    def _check_parked(self, position: int) -> None:
        if position not in self._core.parked:
            raise UsageError(
                f"the consumers {self.name!r} have no parked event at {position}.",
                advice="Choose one that `parked` lists and that is not being replayed.",
            )

    async def _recorded(self, position: int) -> RecordedEvent:
        found = await self._log.read(position - 1, 1)
        if not found or found[0].position != position:
            raise UsageError(
                f"the log has no event at {position}.", advice="Drop the parked event."
            )
        return found[0]

    def statistics(self) -> ConsumersStatistics:
        """The group's figures now."""
        core, head = self._core, self._log.head
        return ConsumersStatistics(
            checkpoint=core.checkpoint,
            head=head,
            lag_positions=max(0, head - core.checkpoint),
            open=len(core.entries),
            parked=len(core.parked),
            consumers=len(self._consumers),
            acks=core.acks,
            nacks=core.nacks,
            timeouts=core.timeouts,
            late=core.late,
            parkings=core.parkings,
            save_failures=self._save_failures,
        )

    def reading(self) -> Reading:
        """The same figures as metrics, labelled by the group; `names.py` describes each."""
        now = self.statistics()
        counts = {"acks": now.acks, "nacks": now.nacks, "parkings": now.parkings}
        gauges = {"lag_positions": now.lag_positions, "parked": now.parked}
        return Reading(
            {Name(f"callboard_consumers_{what}", self.name): n for what, n in counts.items()},
            {Name(f"callboard_consumers_{what}", self.name): n for what, n in gauges.items()},
        )
