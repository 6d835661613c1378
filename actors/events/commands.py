"""Commands: load an aggregate, decide, append with the exact version, decide again if need be.

The state of a stream is kept between commands and checked by the append itself: when somebody
else has appended meanwhile, what is new is read, and the command is decided again. A refusal
is only believed when it was decided on the newest state.

A command that comes a second time with the same `command_id` does nothing twice: the ids of
its events are made of the stream, the command's id and their number. A command that has led
to no event has left no trace, so the same one is decided again.
"""

import asyncio
import random
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeVar

from callboard.messages.control.spec import Backoff
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import DeadlineExceeded, SpecError
from callboard.messages.storage.errors import (
    CommitUnknown,
    EventIdReused,
    UnknownEvent,
    WrongExpectedVersion,
)
from callboard.messages.storage.events import Appended, NewEvent

from ..journal.snapshots import Snapshots
from .aggregate import Aggregate
from .codec import EventCodec, event_id, metadata_of
from .log import AppendLog

__all__ = ["Commands", "CommandsStatistics", "Executed", "Loaded"]

StateT = TypeVar("StateT", bound=Contract)

RETRIES_MAX: Final = 10
"""How often a command is decided again because somebody else has appended."""
CONFLICT_RETRY: Final = Backoff(min_s=0.001, max_s=0.1, jitter=1.0)
"""How long it waits before that, drawn at random from twice as long each time."""
CACHED_MAX: Final = 10_000
"""Streams whose state is kept between commands."""
RECENT_MAX: Final = 100
"""Command ids kept beside a state; an older repetition is found in the stream itself."""
PAGE_EVENTS: Final = 1_000
COMMIT_TRIES: Final = 10
"""How often events are appended again whose commit may have happened."""
TIMEOUT_S: Final = 30.0
COMMAND: Final = "command"
"""The key of the command's id in the metadata of its events."""


@dataclass(frozen=True, slots=True)
class Executed(Generic[StateT]):
    """What a command has led to."""

    events: tuple[Contract, ...]
    """What has happened because of it; of a repetition, what happened the first time."""
    state: StateT
    version: int
    """The stream's version that `state` is of."""
    position: int
    """The position of its last event: wait for it to read one's own writes. 0 without any."""
    is_repeat: bool
    """Whether the command had been executed before."""
    decisions: int
    """How often it was decided; more than once when the state it was decided on was not, or
    was not known to be, the newest. 0 for a repetition that was known at once."""


class Loaded(NamedTuple, Generic[StateT]):
    """A stream's state."""

    state: StateT
    version: int
    recent: tuple[str, ...]
    """The ids of its last commands, the newest last."""


@dataclass(slots=True)
class CommandsStatistics:
    """What has been done here."""

    executed: int = 0
    repeats: int = 0
    refused: int = 0
    conflicts: int = 0
    """Appends that met another version, and were decided again."""
    cache_hits: int = 0
    events_read: int = 0


class Commands(Generic[StateT]):
    """Executes commands on the streams of one kind of aggregate. Belongs to one event loop.

    Commands on one stream take turns here; other processes may write it as well. The codec
    must know all that the aggregate applies, and should stop at what it does not know: a
    state without some of its events is a wrong state.
    """

    def __init__(
        self,
        log: AppendLog,
        aggregate: Aggregate[StateT],
        codec: EventCodec,
        *,
        snapshots: Snapshots[StateT] | None = None,
        retries_max: int = RETRIES_MAX,
        cached_max: int = CACHED_MAX,
    ) -> None:
        missing = {event.contract_name for event in aggregate.events} - set(codec.kinds)
        if missing:
            raise SpecError(
                f"the codec does not know {', '.join(sorted(missing))}.",
                advice=f"Give it what {type(aggregate).__qualname__} applies.",
            )
        self.statistics: Final = CommandsStatistics()
        self._log = log
        self._aggregate = aggregate
        self._codec = codec
        self._snapshots = snapshots
        self._retries_max = retries_max
        self._cached_max = cached_max
        self._cached: OrderedDict[str, Loaded[StateT]] = OrderedDict()
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    async def load(self, stream: str) -> Loaded[StateT]:
        """The newest state of a stream. Raises `UnknownEvent` and what the store raises."""
        async with self._turn(stream):
            return await self._newest(stream, self._cached.get(stream))

    async def execute(
        self,
        stream: str,
        command: Contract,
        *,
        command_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Executed[StateT]:
        """Execute a command; what it leads to is durable on return.

        Raises what `decides` raises, `WrongExpectedVersion` when others were faster
        `retries_max` times, `DeadlineExceeded`, and what the journal raises. After one of the
        last two, the same `command_id` may be sent again.
        """
        name = uuid.uuid4().hex if command_id is None else command_id
        limit = asyncio.timeout(timeout_s)
        try:
            async with limit, self._turn(stream):
                done = await self._execute(
                    stream, command, name, dict(metadata or {}), is_new=command_id is None
                )
        except TimeoutError:
            if not limit.expired():
                raise  # It came from `decides`.
            raise DeadlineExceeded(
                f"{command.contract_name} on {stream!r} took longer than {timeout_s} s.",
                advice="Send it again with the same command id: it does nothing twice.",
            ) from None
        self.statistics.executed += 1
        self.statistics.repeats += done.is_repeat
        return done

    async def _execute(
        self,
        stream: str,
        command: Contract,
        name: str,
        metadata: dict[str, Any],
        *,
        is_new: bool,
    ) -> Executed[StateT]:
        loaded = self._cached.get(stream)
        is_newest = loaded is None
        if loaded is None:
            loaded = await self._newest(stream, None)
        else:
            self.statistics.cache_hits += 1
        decisions = 0
        while True:
            if name in loaded.recent:
                return await self._repeated(stream, name, decisions)
            decisions += 1
            refusal: Exception | None = None
            events: tuple[Contract, ...] = ()
            try:
                events = self._aggregate.decide(loaded.state, command)
            except Exception as error:  # noqa: BLE001 - whatever refuses, it is raised below
                refusal = error
            if events:
                done = await self._append(stream, events, name, metadata, loaded, decisions)
                if done is not None:
                    return done
            elif is_newest:
                if not is_new and await self._stands(stream, name, loaded):
                    return await self._repeated(stream, name, decisions)
                if refusal is not None:
                    self.statistics.refused += 1
                    raise refusal
                return Executed(
                    (), loaded.state, loaded.version, 0, is_repeat=False, decisions=decisions
                )
            loaded, is_newest = await self._newest(stream, loaded), True

    async def _append(
        self,
        stream: str,
        events: tuple[Contract, ...],
        name: str,
        metadata: dict[str, Any],
        loaded: Loaded[StateT],
        decisions: int,
    ) -> Executed[StateT] | None:
        """What the append led to; None when somebody else was faster."""
        # Before it is appended: an event that does not apply would stand in the way for ever.
        state = self._aggregate.fold(loaded.state, events)
        new = [
            self._codec.encode(
                event,
                id=event_id(stream, name, number),
                metadata={**metadata, COMMAND: name},
            )
            for number, event in enumerate(events)
        ]
        try:
            appended, is_first = await self._commit(stream, new, loaded.version)
        except WrongExpectedVersion:
            self.statistics.conflicts += 1
            if decisions > self._retries_max:
                raise
            # In step with another writer one could lose every time: whoever lost waits.
            chance = random.random()  # noqa: S311 - no secret
            await asyncio.sleep(CONFLICT_RETRY.delay_s(decisions, chance))
            return None
        except EventIdReused:
            # It was executed before, and led to other events then.
            return await self._repeated(stream, name, decisions)
        if appended.is_repeat and not (
            # After a commit that was not known to be one, it may be this very append.
            not is_first and appended.version == loaded.version + len(events)
        ):
            return await self._repeated(stream, name, decisions)
        recent = (*loaded.recent, name)[-RECENT_MAX:]
        after = Loaded(state, loaded.version + len(events), recent)
        self._keep(stream, after)
        await self._snapshot(stream, loaded.version, after)
        return Executed(
            events, state, after.version, appended.last, is_repeat=False, decisions=decisions
        )

    async def _commit(
        self, stream: str, new: list[NewEvent], expected: int
    ) -> tuple[Appended, bool]:
        """Where the events stand, and whether the first try has said so."""
        for number in range(COMMIT_TRIES):
            try:
                return await self._log.append(stream, new, expected), number == 0
            except CommitUnknown:
                continue  # The same events again: if they stand there, that is the answer.
        return await self._log.append(stream, new, expected), False

    async def _newest(self, stream: str, known: Loaded[StateT] | None) -> Loaded[StateT]:
        """The state after every event there is, from what is known of it on."""
        if known is None and self._snapshots is not None:
            found = await self._snapshots.load(stream)
            if found is not None:
                known = Loaded(found.state, found.version, tuple(found.extra))
        loaded = known or Loaded(self._aggregate.empty(), 0, ())
        began = loaded.version
        while True:
            page = await self._log.read_stream(stream, after=loaded.version, limit=PAGE_EVENTS)
            if not page:
                break
            state, recent = loaded.state, list(loaded.recent)
            for recorded in page:
                event = self._codec.decode(recorded)
                if event is not None:
                    if event.body is None:
                        raise UnknownEvent(
                            f"the event at position {recorded.position} is a {recorded.kind!r} "
                            f"v{recorded.schema}, which no aggregate can apply.",
                            advice="Give the codec its contract.",
                        )
                    state = self._aggregate.apply(state, event.body)
                name = metadata_of(recorded).get(COMMAND)
                if name is not None and name not in recent[-1:]:
                    recent.append(name)
            self.statistics.events_read += len(page)
            loaded = Loaded(state, page[-1].version, tuple(recent[-RECENT_MAX:]))
        self._keep(stream, loaded)
        await self._snapshot(stream, began, loaded)
        return loaded

    def _keep(self, stream: str, loaded: Loaded[StateT]) -> None:
        self._cached[stream] = loaded
        self._cached.move_to_end(stream)
        while len(self._cached) > self._cached_max:
            self._cached.popitem(last=False)

    async def _snapshot(self, stream: str, before: int, loaded: Loaded[StateT]) -> None:
        snapshots = self._snapshots
        if snapshots is not None and snapshots.is_due(before, loaded.version):
            await snapshots.save(stream, loaded.version, loaded.state, list(loaded.recent))

    async def _stands(self, stream: str, name: str, loaded: Loaded[StateT]) -> bool:
        """Whether a command that is not among the recent ones has led to events long ago."""
        if len(loaded.recent) < RECENT_MAX:
            return False  # All there ever were are recent.
        return (await self._events_of(stream, name))[1] > 0

    async def _events_of(self, stream: str, name: str) -> tuple[list[Contract], int]:
        """The events that a command has led to, and the position of the last.

        They stand side by side; the first is looked for from the end on.
        """
        first, before = event_id(stream, name, 0), 0
        while page := await self._log.read_stream(
            stream, after=before, limit=PAGE_EVENTS, backwards=True
        ):
            for recorded in page:
                if recorded.id == first:
                    return await self._side_by_side(stream, name, recorded.version)
            before = page[-1].version
        return [], 0

    async def _side_by_side(
        self, stream: str, name: str, version: int
    ) -> tuple[list[Contract], int]:
        found: list[Contract] = []
        position = number = 0
        after = version - 1
        while page := await self._log.read_stream(stream, after=after, limit=PAGE_EVENTS):
            for recorded in page:
                if recorded.id != event_id(stream, name, number):
                    return found, position
                number, position = number + 1, recorded.position
                body = self._codec.body_of(recorded)
                if body is not None:
                    found.append(body)
            after = page[-1].version
        return found, position

    async def _repeated(self, stream: str, name: str, decisions: int) -> Executed[StateT]:
        events, position = await self._events_of(stream, name)
        loaded = await self._newest(stream, self._cached.get(stream))
        return Executed(
            tuple(events),
            loaded.state,
            loaded.version,
            position,
            is_repeat=True,
            decisions=decisions,
        )

    @asynccontextmanager
    async def _turn(self, stream: str) -> AsyncIterator[None]:
        lock, users = self._locks.get(stream) or (asyncio.Lock(), 0)
        self._locks[stream] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            users = self._locks[stream][1] - 1
            if users:
                self._locks[stream] = (lock, users)
            else:
                del self._locks[stream]
