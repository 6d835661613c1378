"""Both tiers as one cache: first this process, then Redis, with a message about each write.

The age of served values:

- The local tier serves an entry that was true within the last `stale_s_max` seconds,
  or that has been here since, if all messages published until `stale_s_max` ago have arrived. While
  the subscription stands, that is every entry; while it is lost, only entries that are younger. A
  new subscription begins with an empty local tier.
- Redis holds the last write that reached it. A write that did not is owed (see `redis`):
  other nodes, if they still reach Redis, may read the older value until the writer is back, or
  until the value's time to live is over.
- With `newest_wins`, a late write cannot replace a newer one. Without it, a value that was
  loaded during a write of another node may be cached after that write, until its time to live
  is over.

Misses are not cached.
"""

import random
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from callboard.actors.kernel.inspection.metric_sources import Name, Reading

from .circuit import CircuitState
from .invalidations import VERSION_BYTES, Subscription, decode_invalidation, encode_invalidation
from .local import BYTES_MAX, ENTRIES_MAX, JITTER, LocalCache, LocalStatistics, is_older
from .redis import CALL_S_MAX, RedisCache, RedisStatistics
from .single_flight import LOAD_S_MAX, SingleFlight

__all__ = ["STALE_S_MAX", "TieredCache", "TieredStatistics", "open_cache"]

STALE_S_MAX: Final = 2.0
"""How long the local tier may miss a write of another node, when messages are lost."""
PINGS_IN_BOUND: Final = 4
"""Pings of the subscription within `stale_s_max`, so that one late answer costs nothing."""
LOCAL_TTL_S_MAX: Final = 300.0
"""The longest time that the local tier keeps a value from Redis."""


Touched = dict[str, bytes | None]
"""Keys that were written or deleted, with the written versions."""

_EVERYTHING: Final = "\0*"
"""Stands for all keys."""


@dataclass(frozen=True, slots=True)
class TieredStatistics:
    """The figures of both tiers, and of the messages between nodes."""

    local: LocalStatistics
    """The tier in this process."""
    redis: RedisStatistics | None
    """None without a second tier."""
    is_confirmed: bool
    """Whether the local tier may serve every entry now."""
    sent: int
    """Messages sent to other nodes."""
    heard: int
    """Messages received from other nodes."""
    subscriptions: int
    """How often the messages of other nodes were subscribed to."""
    subscriptions_lost: int
    """How often that subscription ended."""
    overtaken: int
    """Values not stored here because another write came in between."""
    loads: int
    """Values that were loaded from behind the cache."""
    loads_shared: int
    """Reads that waited for the load of another."""
    loads_failed: int
    """Loads that failed."""


class TieredCache:
    """The cache; see the module. For one event loop: call `start` first, and `close` at the end."""

    def __init__(
        self,
        local: LocalCache,
        redis: RedisCache | None = None,
        *,
        url: str = "",
        stale_s_max: float = STALE_S_MAX,
        load_s_max: float = LOAD_S_MAX,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`url` is the server of the subscription, the same as of the Redis tier."""
        self.origin: Final = secrets.token_hex(8)
        self.local: Final = local
        self.redis: Final = redis
        self._stale_s_max = stale_s_max
        self._clock = clock
        self._flights = SingleFlight[bytes | None](load_s_max)
        self._under_way: list[Touched] = []
        """For each read and write that is under way, the keys written meanwhile."""
        self._sent = self._heard = self._overtaken = 0
        self._subscription: Subscription | None = None
        if redis is not None:
            redis.channel = redis.prefix + "invalidations"
            # Without an origin, so that this node's own tier is cleared too.
            redis.flush_message = encode_invalidation("", None)
            self._subscription = Subscription(
                url,
                redis.channel,
                ping_s=stale_s_max / PINGS_IN_BOUND,
                on_message=self._on_message,
                on_gap=self._forget_all,
                clock=clock,
                chance=chance,
            )

    def start(self) -> None:
        """Begin to listen to other nodes. Until the subscription stands, entries serve briefly."""
        if self._subscription is not None:
            self._subscription.start()

    async def close(self) -> None:
        """See `Cache`. It cancels loads that are under way."""
        await self._flights.close()
        if self._subscription is not None:
            await self._subscription.close()
        if self.redis is not None:
            await self.redis.close()
        await self.local.close()

    # --- the port --------------------------------------------------------------------------

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """See `Cache`."""
        began_s = self._clock()
        found = self.local.read(keys, self._not_before_s(began_s))
        redis = self.redis
        if redis is None or not redis.is_reachable or None not in found:
            return found
        missing = list(
            dict.fromkeys(key for key, value in zip(keys, found, strict=True) if value is None)
        )
        with self._track_writes() as touched:
            remote = dict(zip(missing, await redis.read(missing), strict=True))
            for key, copy in remote.items():
                if copy is not None:
                    ttl_s = min(copy.remaining_s, LOCAL_TTL_S_MAX)
                    self._keep(key, copy.value, ttl_s, began_s, touched)
        merged: list[bytes | None] = []
        for key, value in zip(keys, found, strict=True):
            other = remote.get(key) if value is None else None
            merged.append(value if other is None else other.value)
        return merged

    async def set_many(self, values: Mapping[str, bytes], ttl_s: float) -> None:
        """See `Cache`. On return Redis has the message for other nodes, or is out of reach."""
        began_s = self._clock()
        self._touch({key: value[:VERSION_BYTES] for key, value in values.items()})
        with self._track_writes() as touched:
            refused: Sequence[str] = ()
            if self.redis is not None:
                message = encode_invalidation(self.origin, values)
                refused = await self.redis.write(values, ttl_s, message)
                self._sent += self.redis.is_reachable
            touched.update(dict.fromkeys(refused))
            for key, value in values.items():
                self._keep(key, value, ttl_s, began_s, touched)

    async def delete_many(self, keys: Sequence[str]) -> None:
        """See `Cache`."""
        self._touch(dict.fromkeys(keys))
        self.local.delete(keys)
        if self.redis is not None:
            await self.redis.delete(keys, encode_invalidation(self.origin, tuple(keys)))
            self._sent += self.redis.is_reachable
            self._touch(dict.fromkeys(keys))
            for key in keys:
                self.local.drop(key)

    async def get_or_load(
        self, key: str, load: Callable[[], Awaitable[bytes | None]], ttl_s: float
    ) -> bytes | None:
        """The value of the key. On a miss, call `load` and store its result.

        Concurrent callers of one key on this node share one load (see `SingleFlight`). Each node
        loads for itself. A result of None is returned and not stored.
        """
        found = (await self.get_many((key,)))[0]
        if found is not None:
            return found

        async def load_and_keep() -> bytes | None:
            with self._track_writes() as touched:
                value = await load()
                # If a write overtook the load, this value may be older than the write.
                if value is not None and not self._is_overtaken(key, value, touched):
                    await self.set_many({key: value}, ttl_s)
                return value

        return await self._flights.load(key, load_and_keep)

    def statistics(self) -> TieredStatistics:
        """As of now."""
        subscription = self._subscription
        return TieredStatistics(
            local=self.local.statistics(),
            redis=None if self.redis is None else self.redis.statistics(),
            is_confirmed=self._not_before_s(self._clock()) is None,
            sent=self._sent,
            heard=self._heard,
            subscriptions=0 if subscription is None else subscription.begun,
            subscriptions_lost=0 if subscription is None else subscription.lost,
            overtaken=self._overtaken,
            loads=self._flights.loads,
            loads_shared=self._flights.shared,
            loads_failed=self._flights.failed,
        )

    def reading(self) -> Reading:
        """The figures of both tiers as metrics of the host; `names.py` describes each."""
        now = self.statistics()
        counts: dict[Name, float] = {
            Name("callboard_cache_hits", "local"): now.local.hits,
            Name("callboard_cache_misses", "local"): now.local.misses,
            Name("callboard_cache_evicted"): now.local.evicted,
            Name("callboard_cache_loads"): now.loads,
            Name("callboard_cache_loads_shared"): now.loads_shared,
            Name("callboard_cache_invalidations", "sent"): now.sent,
            Name("callboard_cache_invalidations", "heard"): now.heard,
        }
        gauges: dict[Name, float] = {Name("callboard_cache_bytes"): now.local.bytes}
        redis = now.redis
        if redis is not None:
            counts |= {
                Name("callboard_cache_hits", "redis"): redis.hits,
                Name("callboard_cache_misses", "redis"): redis.misses,
                Name("callboard_cache_redis_lost"): redis.opened,
                Name("callboard_cache_redis_back"): redis.closed,
                Name("callboard_cache_redis_skipped"): redis.skipped,
            }
            gauges |= {
                Name("callboard_cache_redis_down"): float(redis.state is not CircuitState.CLOSED),
                Name("callboard_cache_redis_owed"): redis.owed,
            }
        return Reading(counts, gauges)

    # --- writes of other nodes ---------------------------------------------------------------

    def _not_before_s(self, now_s: float) -> float | None:
        """The oldest moment at which a served entry may have been true; None: any."""
        subscription = self._subscription
        if subscription is None or now_s - subscription.confirmed_s <= self._stale_s_max:
            return None
        return now_s - self._stale_s_max

    def _on_message(self, message: bytes) -> None:
        origin, versions = decode_invalidation(message)
        if origin == self.origin:
            return
        self._heard += 1
        if versions is None:
            self._forget_all()
            return
        self._touch(versions)
        for key, version in versions.items():
            self.local.drop(key, version)

    def _forget_all(self) -> None:
        self.local.clear()
        for touched in self._under_way:
            touched[_EVERYTHING] = None

    def _touch(self, versions: Mapping[str, bytes | None]) -> None:
        for touched in self._under_way:
            touched.update(versions)

    @contextmanager
    def _track_writes(self) -> Iterator[Touched]:
        touched: Touched = {}
        self._under_way.append(touched)
        try:
            yield touched
        finally:
            # By identity, because others may be equal.
            self._under_way = [other for other in self._under_way if other is not touched]

    def _keep(self, key: str, value: bytes, ttl_s: float, as_of_s: float, touched: Touched) -> None:
        if self._is_overtaken(key, value, touched):
            self._overtaken += 1
            self.local.drop(key)
        else:
            self.local.write(key, value, ttl_s, as_of_s)

    def _is_overtaken(self, key: str, value: bytes, touched: Touched) -> bool:
        if _EVERYTHING in touched:
            return True
        if key not in touched:
            return False
        version = touched[key]
        # The message may be about this very value.
        return not self.local.newest_wins or version is None or is_older(value, version)


def open_cache(
    url: str = "",
    *,
    prefix: str = "callboard:cache:",
    newest_wins: bool = False,
    entries_max: int = ENTRIES_MAX,
    bytes_max: int = BYTES_MAX,
    jitter: float = JITTER,
    stale_s_max: float = STALE_S_MAX,
    call_s_max: float = CALL_S_MAX,
) -> TieredCache:
    """A started cache in this process, and in the Redis of the URL if one is given.

    Call it on the event loop that uses it.
    """
    local = LocalCache(
        entries_max=entries_max, bytes_max=bytes_max, jitter=jitter, newest_wins=newest_wins
    )
    redis = None
    if url:
        redis = RedisCache(
            url, prefix=prefix, newest_wins=newest_wins, call_s_max=call_s_max, jitter=jitter
        )
    cache = TieredCache(local, redis, url=url, stale_s_max=stale_s_max)
    cache.start()
    return cache
