"""Commands: load an aggregate, decide, append with the exact version, and repeat on conflicts.

The state of a stream stays in memory between commands, and the append itself checks it: when
another process has appended meanwhile, the new events are read, and the command is decided again.
A refusal is only final when it was decided on the newest state.

A repeated command with the same `command_id` has no second effect: the ids of its events are made
of the stream, the command's id and their number. A command without events leaves no trace, so its
repetition is decided again.
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
from callboard.messages.core.errors import DeadlineExceeded, SpecError, UsageError
from callboard.messages.core.names import check_name
from callboard.messages.core.ref import check_message
from callboard.messages.core.timeouts import checked_timeout
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
"""How often a command is decided again because another process has appended."""
CONFLICT_RETRY: Final = Backoff(min_s=0.001, max_s=0.1, jitter=1.0)
"""The wait before that: random, from a range that doubles each time."""
CACHED_MAX: Final = 10_000
"""Streams whose state stays in memory."""
RECENT_MAX: Final = 100
"""Command ids in memory per stream; an older repetition is found in the stream itself."""
PAGE_EVENTS: Final = 1_000
COMMIT_TRIES: Final = 10
"""How often the same events are appended again when the outcome of a commit is not known."""
TIMEOUT_S: Final = 30.0
COMMAND: Final = "command"
"""The key of the command's id in the metadata of its events."""


@dataclass(frozen=True, slots=True)
class Executed(Generic[StateT]):
    """The outcome of a command."""

    events: tuple[Contract, ...]
    """The events of the command; for a repetition, those of the first execution."""
    state: StateT
    """The state of the stream afterwards."""
    version: int
    """The version of the stream that `state` shows."""
    position: int
    """The position of the last event; wait for it to read your own write. 0 without events."""
    is_repeat: bool
    """Whether the command had been executed before."""
    decisions: int
    """How often it was decided: more than once when the first state was not the newest, or not
    known to be; 0 for a repetition that was recognised at once."""


class Loaded(NamedTuple, Generic[StateT]):
    """The state of a stream."""

    state: StateT
    version: int
    recent: tuple[str, ...]
    """The ids of the last commands, the newest last."""


@dataclass(slots=True)
class CommandsStatistics:
    """The counts of one `Commands`."""

    executed: int = 0
    repeats: int = 0
    refused: int = 0
    conflicts: int = 0
    """Appends that met another version; their commands were decided again."""
    cache_hits: int = 0
    events_read: int = 0


class Commands(Generic[StateT]):
    """Executes commands on the streams of one kind of aggregate. Belongs to one event loop.

    Commands on one stream take turns; other processes may append to it as well. The codec must
    know all events that the aggregate applies, and should stop at unknown events: a state
    without some of its events is wrong. Raises `SpecError` for a codec that lacks a contract.
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
                advice=f"Give it all events that {type(aggregate).__qualname__} applies.",
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
        """Execute a command; its events are durable on return.

        Raises what the `decides` method raises, `UsageError` for a `command_id` that is no name,
        `WrongExpectedVersion` after more than `retries_max` conflicts, `DeadlineExceeded` after
        `timeout_s` seconds, and what the journal raises. After one of the last two, execute it
        again with the same `command_id`.
        """
        check_message(command)
        if command_id is None:
            name = uuid.uuid4().hex
        else:
            name = check_name("the command id", command_id, error=UsageError)
        limit = asyncio.timeout(checked_timeout(timeout_s))
        try:
            async with limit, self._turn(stream):
                done = await self._execute(
                    stream, command, name, dict(metadata or {}), is_new=command_id is None
                )
        except TimeoutError:
            if not limit.expired():
                raise  # The `decides` method raised it.
            raise DeadlineExceeded(
                f"{command.contract_name} on {stream!r} took longer than {timeout_s} s.",
                advice="Execute it again with the same command_id: it has no second effect.",
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
            except Exception as error:  # noqa: BLE001 - any refusal is raised below
                refusal = error
            if events:
                done = await self._append(stream, events, name, metadata, loaded, decisions)
                if done is not None:
                    return done
            elif is_newest:
                if not is_new and await self._was_executed(stream, name, loaded):
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
        """The outcome of the append; None when another process was faster."""
        # Before the append: an event that cannot be applied would block the stream for ever.
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
            # Two writers in step could conflict every time: the one that lost waits.
            chance = random.random()  # noqa: S311 - no secret
            await asyncio.sleep(CONFLICT_RETRY.delay_s(decisions, chance))
            return None
        except EventIdReused:
            # The command was executed before, with other events.
            return await self._repeated(stream, name, decisions)
        if appended.is_repeat and not (
            # After a commit with an unknown outcome, it may be this very append.
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
        """The place of the events, and whether the first try gave it."""
        for number in range(COMMIT_TRIES):
            try:
                return await self._log.append(stream, new, expected), number == 0
            except CommitUnknown:
                continue  # The same events again: if the log has them, it gives their place.
        return await self._log.append(stream, new, expected), False

    async def _newest(self, stream: str, known: Loaded[StateT] | None) -> Loaded[StateT]:
        """The newest state: the known one, with all later events of the stream."""
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
                            f"v{recorded.schema}, which the codec does not know.",
                            advice="Give the codec its contract, and stop at unknown events.",
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

    async def _was_executed(self, stream: str, name: str, loaded: Loaded[StateT]) -> bool:
        """Whether the stream has events of a command that is not among the recent ones."""
        if len(loaded.recent) < RECENT_MAX:
            return False  # `recent` has all commands of the stream.
        return (await self._events_of(stream, name))[1] > 0

    async def _events_of(self, stream: str, name: str) -> tuple[list[Contract], int]:
        """The events of a command, and the position of the last one.

        They are adjacent; the search for the first one starts at the end of the stream.
        """
        first, before = event_id(stream, name, 0), 0
        while page := await self._log.read_stream(
            stream, after=before, limit=PAGE_EVENTS, backwards=True
        ):
            for recorded in page:
                if recorded.id == first:
                    return await self._adjacent_events(stream, name, recorded.version)
            before = page[-1].version
        return [], 0

    async def _adjacent_events(
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
