"""`AgentStateManager`: states are stored, then cached, then published, in this order.

| failure of | effect |
|---|---|
| the primary store | the error is raised; nothing is cached or published |
| the cache | it is counted; the state is stored and published, and read from the primary store |
| the publisher | it is counted; the state is stored and cached, and published later |

Each change is published at least once. Pending notifications stand in a row of the table of
states, written in the transaction that stores the states. They are retried with a growing delay,
and `open` retries them after a crash. Of several pending changes of one execution, only the
newest is published.

A state is only replaced by one whose version is higher by 1 than the one that was read. If two
nodes change it at the same time, one is refused, reads again, and decides again.
"""

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import CallboardError, StateConflict
from callboard.messages.jobs.execution import RESERVED, ExecutionStatus, StateTransitionTrigger
from callboard.messages.storage.errors import CommitUnknown, TransitionRefused
from callboard.messages.storage.states import (
    WRITER_BYTES,
    AgentExecutionState,
    AgentStateChanged,
    StateCodec,
    UnknownState,
    decode_changes,
    encode_changes,
    writer_of,
)
from callboard.messages.storage.stores import Cache, StateRow, StateStore

from ..kernel.failures import ends_task
from ..kernel.inspection.metric_sources import Name, Reading
from ..kernel.threads import ThreadRunner
from .core import PendingNotifications, check_history, check_id, step

__all__ = ["AgentStateManager", "Publish", "StateStatistics"]

TABLE: Final = "agent_states"
TTL_S: Final = 3_600.0
"""How long a state stays in the cache, in seconds."""
PUBLISH_S_MAX: Final = 5.0
CACHE_S_MAX: Final = 5.0
"""The time limit of a call of the cache, in seconds, for a cache without a limit of its own."""
RETRY: Final = Backoff(max_s=10.0)
"""At once, then after 0.1 s, and so on."""
GROUP_MAX: Final = 1_000
"""States in one transaction."""
TRIES_MAX: Final = 32
"""How often a transition is decided again because another process was faster."""
DECODED_MAX: Final = 20_000
"""Decoded states in memory."""
DECODED_IN_A_ROW: Final = 250
"""States decoded before the event loop gets its turn."""

Publish = Callable[[Sequence[AgentStateChanged]], Awaitable[None]]
"""Publishes changes. If it raises, it gets them again."""

ReturnT = TypeVar("ReturnT")


@dataclass(frozen=True, slots=True)
class StateStatistics:
    """The counts of a manager since it was made."""

    stored: int
    """States that were stored."""
    groups: int
    """Transactions that stored them."""
    conflicts: int
    """Changes refused because the state had changed meanwhile."""
    read_cached: int
    """Reads that the cache served."""
    read_primary: int
    """Reads that the primary store served."""
    read_unknown: int
    """Reads of states that do not exist."""
    cache_failures: int
    """Calls of the cache that failed; the primary store served instead."""
    undecodable: int
    """Cached values that were no state, and were read from the primary store."""
    notified: int
    """Changes that were published."""
    publish_failures: int
    """Changes that could not be published; a newer one is tried."""
    pending_notifications: int
    """Executions whose newest change is not published yet."""


@dataclass(slots=True, eq=False)
class _Waiting:
    row: StateRow
    change: AgentStateChanged
    done: "asyncio.Future[bool]"


class AgentStateManager:
    """Stores, caches and publishes states. Belongs to one event loop; `open` it first.

    `owner` names the manager across restarts: the next manager of this name publishes the
    pending notifications of the last one. Run one manager of a name at a time. Without `publish`
    no change is published. `ttl_s` is how long a state stays in the cache, in seconds.
    """

    def __init__(
        self,
        store: StateStore,
        cache: Cache,
        publish: Publish | None = None,
        *,
        owner: str = "main",
        ttl_s: float = TTL_S,
        codec: StateCodec | None = None,
        wall_time: Callable[[], float] = time.time,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._store = store
        self._cache = cache
        self._publish = publish
        self._ttl_s = ttl_s
        self._codec = codec or StateCodec()
        self._wall_time = wall_time
        self._random_bytes = random_bytes
        self._threads = ThreadRunner("states", 2)
        self._outbox_id = f"{RESERVED}untold{RESERVED}{owner}"
        self._outbox_version = 0
        self._outbox_is_empty = True
        self._pending_notifications = PendingNotifications()
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None
        self._notifying: asyncio.Task[None] | None = None
        self._is_failing = False
        self._decoded: OrderedDict[str, tuple[bytes, AgentExecutionState]] = OrderedDict()
        self._stored = self._groups = self._conflicts = self._notified = 0
        self._read_cached = self._read_primary = self._read_unknown = 0
        self._cache_failures = self._undecodable = self._publish_failures = 0

    async def open(self) -> None:
        """Open the store, and begin to publish the pending notifications of an earlier manager."""
        await self._threads.call(self._store.open)
        row = (await self._threads.call(self._store.find_by_ids, TABLE, [self._outbox_id]))[0]
        if row is None:
            return
        self._outbox_version = row.version
        left = decode_changes(row.data)
        self._outbox_is_empty = not left
        # Publish the states as they are now: one may have changed since, or was never stored.
        found = await self._threads.call(
            self._store.find_by_ids, TABLE, [change.execution_id for change in left]
        )
        states = [self._codec.decode(row.data) for row in found if row is not None]
        self._pending_notifications.add(self._change_of(state) for state in states)
        self._schedule_notify()

    async def close(self) -> None:
        """Finish storing, and close the store. Pending notifications stay in the store."""
        while self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        if self._notifying is not None:
            self._notifying.cancel()
            await asyncio.gather(self._notifying, return_exceptions=True)
        try:
            if not len(self._pending_notifications) and not self._outbox_is_empty:
                await self._threads.call(self._store.upsert, TABLE, [self._outbox_row([])])
        finally:
            await self._threads.call(self._store.close)
            self._threads.close()

    async def __aenter__(self) -> Self:
        try:
            await self.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self.close()

    # --- changing --------------------------------------------------------------------------

    async def persist(self, state: AgentExecutionState) -> AgentExecutionState:
        """Store, cache and publish a state; gives the stored state, its version higher by 1.

        Raises `StateConflict` when another process has changed it since it was read,
        `TransitionRefused` when its status and transitions do not fit, `InvalidMessage` or
        `PayloadTooLarge` when it cannot be encoded, `StoreFull` when too many notifications
        are pending, and what the store raises. After `CommitUnknown`, or a cancellation, the
        state may be stored and published.
        """
        check_id(state.execution_id)
        check_history(state)
        self._pending_notifications.check_room()
        kept = state.model_copy(update={"version": state.version + 1})
        data = self._codec.encode(kept, self._random_bytes(WRITER_BYTES))
        row = StateRow(kept.execution_id, kept.version, data)
        waiting = _Waiting(row, self._change_of(kept), asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._write())
        if not await waiting.done:
            self._conflicts += 1
            raise StateConflict(
                f"the state of {kept.execution_id} has changed since version {state.version}.",
                advice="Read it again, and repeat the change.",
                may_have_run=False,
            )
        return kept

    async def transition(
        self,
        execution_id: str,
        to: ExecutionStatus,
        trigger: StateTransitionTrigger,
        metadata: Mapping[str, Any] | None = None,
    ) -> AgentExecutionState:
        """Change the status, and record the transition with time, trigger and metadata.

        Raises `TransitionRefused` for a transition that the table does not allow,
        `UnknownState`, and what `persist` raises. When another process changes the state at
        the same time, the transition is repeated on the new state, up to 32 times.
        """
        state = (await self.synchronise([execution_id]))[0]
        for _ in range(TRIES_MAX):
            if state is None:
                raise UnknownState(
                    f"no state of execution {execution_id!r} is stored.", advice="Persist it first."
                )
            try:
                after = step(state, to, trigger, metadata or {}, self._wall_time())
                return await self.persist(after)
            except (TransitionRefused, StateConflict) as error:
                # The state may have been an old one: only the primary store's state counts.
                newest = (await self._from_primary([execution_id]))[0]
                if newest is None or newest.version != state.version:
                    state = newest
                elif isinstance(error, TransitionRefused):
                    raise
        raise StateConflict(
            f"other processes changed the state of {execution_id} {TRIES_MAX} times in a row.",
            advice="Try again later.",
            may_have_run=False,
        )

    async def forget(self, execution_ids: Sequence[str]) -> None:
        """Delete these states, from the primary store and then from the cache."""
        for execution_id in execution_ids:
            check_id(execution_id)
        await self._threads.call(self._store.delete, TABLE, list(execution_ids))
        for execution_id in execution_ids:
            self._decoded.pop(execution_id, None)
        await self._cached(self._cache.delete_many([_key(name) for name in execution_ids]))

    # --- reading ---------------------------------------------------------------------------

    async def synchronise(self, execution_ids: Sequence[str]) -> list[AgentExecutionState | None]:
        """The states of these executions, in this order; None for a state that is not stored.

        Reads the cache in one batch, then the rest from the primary store in one batch, which
        it caches. A cached state may be up to `ttl_s` old. Raises what the store raises.
        """
        for execution_id in execution_ids:
            check_id(execution_id)
        ids = list(dict.fromkeys(execution_ids))
        cached = await self._cached(self._cache.get_many([_key(name) for name in ids]))
        found: dict[str, AgentExecutionState | None] = {}
        missing: list[str] = []
        decoded = 0
        for name, data in zip(ids, cached or [None] * len(ids), strict=True):
            if data is None:
                missing.append(name)
                continue
            kept = self._decoded.get(name)
            if kept is not None and kept[0] is data:
                found[name] = kept[1]
                continue
            decoded += 1
            if not decoded % DECODED_IN_A_ROW:
                await asyncio.sleep(0)
            try:
                found[name] = self._remember(name, data, self._codec.decode(data))
            except CallboardError:
                self._undecodable += 1
                missing.append(name)
        self._read_cached += len(found)
        if missing:
            found.update(zip(missing, await self._from_primary(missing), strict=True))
        return [found[name] for name in execution_ids]

    async def newest(self, execution_ids: Sequence[str]) -> list[AgentExecutionState | None]:
        """The states of these executions as the primary store has them now; None as above."""
        for execution_id in execution_ids:
            check_id(execution_id)
        return await self._from_primary(list(execution_ids))

    def statistics(self) -> StateStatistics:
        """The manager's counts now."""
        return StateStatistics(
            stored=self._stored,
            groups=self._groups,
            conflicts=self._conflicts,
            read_cached=self._read_cached,
            read_primary=self._read_primary,
            read_unknown=self._read_unknown,
            cache_failures=self._cache_failures,
            undecodable=self._undecodable,
            notified=self._notified,
            publish_failures=self._publish_failures,
            pending_notifications=len(self._pending_notifications),
        )

    def reading(self) -> Reading:
        """The same figures as metrics of the host; `names.py` describes each."""
        now = self.statistics()
        counts: dict[Name, float] = {
            Name("callboard_states_stored"): now.stored,
            Name("callboard_states_conflicts"): now.conflicts,
            Name("callboard_states_read", "cache"): now.read_cached,
            Name("callboard_states_read", "primary"): now.read_primary,
            Name("callboard_states_cache_failures"): now.cache_failures,
            Name("callboard_states_notified"): now.notified,
            Name("callboard_states_publish_failures"): now.publish_failures,
        }
        return Reading(
            counts, {Name("callboard_states_pending_notifications"): now.pending_notifications}
        )

    async def _from_primary(self, ids: Sequence[str]) -> list[AgentExecutionState | None]:
        rows = await self._threads.call(self._store.find_by_ids, TABLE, ids)
        states: list[AgentExecutionState | None] = []
        values: dict[str, bytes] = {}
        for number, (name, row) in enumerate(zip(ids, rows, strict=True), start=1):
            if row is None:
                self._read_unknown += 1
                states.append(None)
                continue
            if not number % DECODED_IN_A_ROW:
                await asyncio.sleep(0)
            states.append(self._remember(name, row.data, self._codec.decode(row.data)))
            values[_key(name)] = row.data
        self._read_primary += len(values)
        if values:
            await self._cached(self._cache.set_many(values, self._ttl_s))
        return states

    def _remember(self, name: str, data: bytes, state: AgentExecutionState) -> AgentExecutionState:
        """Keep the decoded state while the cache gives the same bytes object."""
        self._decoded[name] = (data, state)
        if len(self._decoded) > DECODED_MAX:
            self._decoded.popitem(last=False)
        return state

    # --- storing, in groups ----------------------------------------------------------------

    async def _write(self) -> None:
        """Store the waiting states, group after group; states that arrive form the next group."""
        while self._waiting:
            group = self._next_group()
            try:
                kept = await self._store_group(group)
            except Exception as error:  # noqa: BLE001 - each waiting caller gets it
                if isinstance(error, CommitUnknown) and self._publish is not None:
                    # The states may be stored, with their notifications: publish them.
                    self._pending_notifications.add(waiting.change for waiting in group)
                    self._schedule_notify()
                for waiting in group:
                    if not waiting.done.done():
                        waiting.done.set_exception(error)
                continue
            self._groups += 1
            self._stored += len(kept)
            self._pending_notifications.add(
                waiting.change for waiting in kept if self._publish is not None
            )
            if kept:
                values = {_key(waiting.row.id): waiting.row.data for waiting in kept}
                await self._cached(self._cache.set_many(values, self._ttl_s))
                if not self._is_failing:
                    await self._notify()
            stored = {id(waiting) for waiting in kept}
            for waiting in group:
                if not waiting.done.done():
                    waiting.done.set_result(id(waiting) in stored)
        self._writing = None

    def _next_group(self) -> list[_Waiting]:
        """The next group: of several changes of one state, only the first."""
        group: dict[str, _Waiting] = {}
        later: list[_Waiting] = []
        for waiting in self._waiting:
            if waiting.row.id in group or len(group) >= GROUP_MAX:
                later.append(waiting)
            else:
                group[waiting.row.id] = waiting
        self._waiting = later
        return list(group.values())

    async def _store_group(self, group: list[_Waiting]) -> list[_Waiting]:
        """Store a group in one transaction; gives the changes that are stored now."""
        rows = [waiting.row for waiting in group]
        if self._publish is not None:
            changes = [waiting.change for waiting in group]
            rows.append(self._outbox_row(self._pending_notifications.with_these(changes)))
        try:
            newer = await self._threads.call(self._store.upsert, TABLE, rows)
        except CommitUnknown:
            # The same rows again: a committed row is refused now, and recognised by its writer.
            newer = await self._threads.call(self._store.upsert, TABLE, rows)
        if self._publish is not None and not newer[-1]:
            await self._take_over(rows[-1])
        refused = [waiting for waiting, is_new in zip(group, newer, strict=False) if not is_new]
        if refused:
            ids = [waiting.row.id for waiting in refused]
            there = await self._threads.call(self._store.find_by_ids, TABLE, ids)
            others = {
                id(waiting)
                for waiting, row in zip(refused, there, strict=True)
                if row is None or writer_of(row.data) != writer_of(waiting.row.data)
            }
            return [waiting for waiting in group if id(waiting) not in others]
        return group

    async def _take_over(self, note: StateRow) -> None:
        """Replace the outbox row of another manager of this name, which has a higher version."""
        there = (await self._threads.call(self._store.find_by_ids, TABLE, [note.id]))[0]
        if there is None or there.data == note.data:
            return  # The first try of the same transaction has written this row.
        self._outbox_version = there.version + 1
        again = note._replace(version=self._outbox_version)
        await self._threads.call(self._store.upsert, TABLE, [again])

    def _outbox_row(self, changes: list[AgentStateChanged]) -> StateRow:
        self._outbox_version += 1
        self._outbox_is_empty = not changes
        return StateRow(self._outbox_id, self._outbox_version, encode_changes(changes))

    # --- publishing ------------------------------------------------------------------------

    async def _notify(self) -> None:
        changes = self._pending_notifications.all()
        if self._publish is None or not changes:
            return
        try:
            async with asyncio.timeout(PUBLISH_S_MAX):
                await self._publish(changes)
        except BaseException as error:
            if ends_task(error):
                raise
            # After any error of a publisher, the changes are retried.
            self._publish_failures += 1
            self._is_failing = True
            self._schedule_notify()
        else:
            self._is_failing = False
            self._notified += len(changes)
            self._pending_notifications.remove(changes)

    def _schedule_notify(self) -> None:
        if (
            self._notifying is None
            and self._publish is not None
            and len(self._pending_notifications)
        ):
            self._is_failing = True
            self._notifying = asyncio.ensure_future(self._retry_notify())

    async def _retry_notify(self) -> None:
        """Publish until nothing is pending; nothing else publishes meanwhile, to keep the order."""
        failures = 1
        while len(self._pending_notifications):
            await asyncio.sleep(RETRY.delay_s(failures))
            failures += 1
            await self._notify()
            if self._is_failing:
                continue
            self._is_failing = bool(len(self._pending_notifications))
            failures = 1
        self._is_failing = False
        self._notifying = None

    # --- ways out --------------------------------------------------------------------------

    def _change_of(self, state: AgentExecutionState) -> AgentStateChanged:
        return AgentStateChanged(
            execution_id=state.execution_id,
            status=state.status,
            timestamp=self._wall_time(),
            version=state.version,
        )

    async def _cached(self, call: Awaitable[ReturnT]) -> ReturnT | None:
        """The result of a call of the cache; None when the call fails, which only costs speed."""
        try:
            async with asyncio.timeout(CACHE_S_MAX):
                return await call
        except BaseException as error:
            if ends_task(error):
                raise
            self._cache_failures += 1
            return None


def _key(execution_id: str) -> str:
    return f"state:{execution_id}"
