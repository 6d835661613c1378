"""The second tier: Redis by URL, for all nodes together.

Nothing here fails, and nothing waits longer than its limit. A call without an answer in time, or
with a broken connection, opens the circuit. While it is open, every read is a miss at once, and the
keys of every write are noted as *owed*: Redis may hold an outdated value of them. A task probes the
server with a growing delay. When the server answers, the task first deletes the owed keys. Only
then do reads go to Redis again.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from .circuit import Circuit, CircuitState
from .local import JITTER, TOMBSTONE_S
from .scripts import DELETE, EXPIRY, WRITE

__all__ = ["CALL_S_MAX", "KEY_S_MAX", "RedisCache", "RedisStatistics", "Remote", "connect"]

CALL_S_MAX: Final = 0.5
"""The limit for any call to Redis, plus `KEY_S_MAX` for each of its keys."""
KEY_S_MAX: Final = 0.000_2

BATCH_KEYS_MAX: Final = 500
"""Keys in one command. Redis serves no other client meanwhile."""
OWED_MAX: Final = 100_000
"""Owed keys while Redis is away. With more, everything under the prefix is deleted."""
CONNECTIONS_MAX: Final = 16
SCAN_COUNT: Final = 1_000

UNREACHABLE: Final = (RedisError, OSError, TimeoutError)


class Remote(NamedTuple):
    """A value in Redis, and its remaining time to live."""

    value: bytes
    remaining_s: float


@dataclass(frozen=True, slots=True)
class RedisStatistics:
    """The state of the circuit, and the counters of calls to Redis."""

    state: CircuitState
    """The state of the circuit now."""
    opened: int
    """How often the circuit opened: calls are skipped then."""
    probes: int
    """Calls that tested whether the server answers again."""
    closed: int
    """How often the circuit closed again."""
    hits: int
    """Reads that found a value."""
    misses: int
    """Reads that found none."""
    writes: int
    """Values that were written."""
    deletes: int
    """Values that were deleted."""
    timeouts: int
    """Calls without an answer in time."""
    failures: int
    """Calls that failed other than by a timeout."""
    skipped: int
    """Calls skipped because the circuit was open."""
    refused_older: int
    """Values refused because a newer one was there."""
    owed: int
    """Keys to delete when Redis is back."""
    repaid: int
    """Owed keys that were deleted."""


def connect(url: str, timeout_s: float, connections_max: int = CONNECTIONS_MAX) -> Any:
    """A client whose calls do not retry, and wait at most `timeout_s` each."""
    # `Any`: the stubs of redis-py mix the blocking and the asynchronous client's types.
    pool = aioredis.BlockingConnectionPool.from_url(
        url,
        max_connections=connections_max,
        timeout=timeout_s,
        protocol=2,  # Nothing here needs version 3, and every proxy supports this one.
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
    return aioredis.Redis(connection_pool=pool)


class RedisCache:
    """The Redis tier; see the module. All nodes must agree on `newest_wins` (see `LocalCache`)."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "callboard:cache:",
        newest_wins: bool = False,
        call_s_max: float = CALL_S_MAX,
        jitter: float = JITTER,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """The first call connects. `chance` gives a number from 0 to below 1."""
        self.prefix: Final = prefix
        self.newest_wins: Final = newest_wins
        self._client = connect(url, call_s_max)
        self._write_script = self._client.register_script(WRITE)
        self._delete_script = self._client.register_script(DELETE)
        self._call_s_max = call_s_max
        self._jitter = jitter
        self._chance = chance
        self._circuit = Circuit(chance)
        self._probing: asyncio.Task[None] | None = None
        self._owed: set[str] = set()
        self._owes_all = False
        self._is_closed = False
        self.channel = ""
        """The channel for messages about writes; empty for none."""
        self.flush_message = b""
        """The message that makes other nodes clear everything."""
        self._hits = self._misses = self._writes = self._deletes = 0
        self._timeouts = self._failures = self._skipped = self._refused = self._repaid = 0

    # --- the port --------------------------------------------------------------------------

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """See `Cache`."""
        return [None if found is None else found.value for found in await self.read(keys)]

    async def set_many(self, values: Mapping[str, bytes], ttl_s: float) -> None:
        """See `Cache`. A time to live below a millisecond deletes."""
        await self.write(values, ttl_s)

    async def delete_many(self, keys: Sequence[str]) -> None:
        """See `Cache`."""
        await self.delete(keys)

    async def close(self) -> None:
        """See `Cache`. Owed keys are no longer deleted; they expire by their time to live."""
        self._is_closed = True
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        with contextlib.suppress(*UNREACHABLE):
            await self._client.aclose(close_connection_pool=True)

    # --- for `TieredCache` ----------------------------------------------------------

    async def read(self, keys: Sequence[str]) -> list[Remote | None]:
        """The values of these keys, with their remaining times to live."""
        found: list[Remote | None] = []
        names = [self.prefix + key for key in keys]

        async def ask() -> None:
            for at in range(0, len(names), BATCH_KEYS_MAX):
                pipeline = self._client.pipeline(transaction=False)
                pipeline.mget(names[at : at + BATCH_KEYS_MAX])
                pipeline.time()  # Read last: what remains is never overstated.
                values, (seconds, micros) = await pipeline.execute()
                now_ms = seconds * 1_000 + micros // 1_000
                found.extend(_remote(value, now_ms) for value in values)

        if keys and not await self._call(ask, len(keys)):
            found = [None] * len(keys)
        misses = found.count(None)
        self._misses += misses
        self._hits += len(found) - misses
        return found

    async def write(
        self, values: Mapping[str, bytes], ttl_s: float, message: bytes = b""
    ) -> list[str]:
        """Store these values. Gives the keys that were refused for a newer value or a delete."""
        if ttl_s < 0.001:
            await self.delete(tuple(values), message)
            return []
        keys = list(values)
        refused: list[str] = []

        async def send() -> None:
            for at in range(0, len(keys), BATCH_KEYS_MAX):
                batch = keys[at : at + BATCH_KEYS_MAX]
                last_message = message if at + BATCH_KEYS_MAX >= len(keys) else b""
                arguments: list[Any] = [
                    "1" if self.newest_wins else "0",
                    self.channel if last_message else "",
                    last_message,
                ]
                for key in batch:
                    ttl_ms = int(ttl_s * 1_000 * (1 - self._jitter * self._chance()))
                    arguments += (values[key], max(1, ttl_ms))
                names = [self.prefix + key for key in batch]
                places = await self._write_script(keys=names, args=arguments)
                refused.extend(batch[place] for place in places)

        if await self._call_or_owe(send, keys):
            self._writes += len(keys) - len(refused)
            self._refused += len(refused)
        return refused

    async def delete(self, keys: Collection[str], message: bytes = b"") -> None:
        """Delete these keys."""
        if await self._call_or_owe(lambda: self._send_deletes(list(keys), message), keys):
            self._deletes += len(keys)

    async def _send_deletes(self, keys: Sequence[str], message: bytes) -> None:
        tombstone_ms = int(TOMBSTONE_S * 1_000) if self.newest_wins else 0
        for at in range(0, len(keys), BATCH_KEYS_MAX):
            names = [self.prefix + key for key in keys[at : at + BATCH_KEYS_MAX]]
            last_message = message if at + BATCH_KEYS_MAX >= len(keys) else b""
            arguments = [tombstone_ms, self.channel if last_message else "", last_message]
            await self._delete_script(keys=names, args=arguments)

    @property
    def is_reachable(self) -> bool:
        """Whether calls go through now."""
        return self._circuit.is_closed

    def statistics(self) -> RedisStatistics:
        """As of now."""
        entered = self._circuit.entered
        return RedisStatistics(
            state=self._circuit.state,
            opened=self._circuit.losses,
            probes=entered[CircuitState.PROBING],
            closed=entered[CircuitState.CLOSED],
            hits=self._hits,
            misses=self._misses,
            writes=self._writes,
            deletes=self._deletes,
            timeouts=self._timeouts,
            failures=self._failures,
            skipped=self._skipped,
            refused_older=self._refused,
            owed=len(self._owed),
            repaid=self._repaid,
        )

    # --- the circuit -----------------------------------------------------------------------

    async def _call(self, call: Callable[[], Any], keys: int) -> bool:
        """Make a call. False if it was skipped, failed or took too long."""
        if not self._circuit.is_closed or self._is_closed:
            self._skipped += 1
            return False
        try:
            async with asyncio.timeout(self._call_s_max + KEY_S_MAX * keys):
                await call()
        except UNREACHABLE as error:
            self._note(error)
            self._open()
            return False
        return True

    async def _call_or_owe(self, call: Callable[[], Any], keys: Collection[str]) -> bool:
        """Make a call that changes these keys. They are owed unless it surely succeeded."""
        if not keys:
            return False
        is_done = False
        try:
            is_done = await self._call(call, len(keys))
        finally:
            # Also if the caller was cancelled meanwhile.
            if not is_done:
                self._owe(keys)
        return is_done

    def _note(self, error: Exception) -> None:
        # redis-py's own TimeoutError is not the built-in one.
        if isinstance(error, TimeoutError | aioredis.TimeoutError):
            self._timeouts += 1
        else:
            self._failures += 1

    def _open(self) -> None:
        self._circuit.record_failure()
        if self._probing is None and not self._is_closed:
            self._probing = asyncio.ensure_future(self._probe())

    async def _probe(self) -> None:
        while True:
            await asyncio.sleep(self._circuit.delay_s())
            self._circuit.begin_probe()
            try:
                # Open connections may be broken, or hold answers to abandoned calls.
                await self._client.connection_pool.disconnect(inuse_connections=True)
                async with asyncio.timeout(self._call_s_max):
                    await self._client.ping()
                await self._repay()
            except UNREACHABLE as error:
                self._note(error)
                self._circuit.record_failure()
            else:
                self._probing = None
                self._circuit.record_success()
                return

    # --- owed keys ------------------------------------------------------------

    def _owe(self, keys: Collection[str]) -> None:
        if self._is_closed:
            return
        if len(self._owed) + len(keys) > OWED_MAX:
            self._owed.clear()
            self._owes_all = True
        if not self._owes_all:
            self._owed.update(keys)
        if self._circuit.is_closed:
            # It closed again meanwhile, or nothing failed: only a probe repays.
            self._open()

    async def _repay(self) -> None:
        """Delete the owed keys, and those that become owed meanwhile."""
        while self._owes_all or self._owed:
            if self._owes_all:
                self._owes_all = False
                try:
                    await self._delete_everything()
                except BaseException:
                    self._owes_all = True
                    raise
                continue
            owed = list(self._owed)[:BATCH_KEYS_MAX]
            async with asyncio.timeout(self._call_s_max):
                await self._send_deletes(owed, self.flush_message)
            self._owed.difference_update(owed)
            self._repaid += len(owed)

    async def _delete_everything(self) -> None:
        cursor = 0
        while True:
            async with asyncio.timeout(self._call_s_max):
                cursor, names = await self._client.scan(
                    cursor, match=_literally(self.prefix) + "*", count=SCAN_COUNT
                )
                if names:
                    await self._client.unlink(*names)
            self._repaid += len(names)
            if not cursor:
                break
        if self.channel:
            async with asyncio.timeout(self._call_s_max):
                await self._client.publish(self.channel, self.flush_message)


def _remote(value: bytes | None, now_ms: int) -> Remote | None:
    if value is None or len(value) < EXPIRY.size:
        return None
    remaining_s = (EXPIRY.unpack_from(value)[0] - now_ms) / 1_000
    return Remote(value[EXPIRY.size :], remaining_s) if remaining_s > 0 else None


def _literally(prefix: str) -> str:
    return "".join("\\" + letter if letter in "*?[]\\^-" else letter for letter in prefix)
