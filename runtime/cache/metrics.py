"""The counters of a cache as metrics of its host."""

from callboard.actors.kernel.inspection.metric_sources import Name, Reading

from .circuit import CircuitState
from .tiers import TieredCache

__all__ = ["reading_of"]


def reading_of(cache: TieredCache) -> Reading:
    """The current figures of both tiers. `runtime.telemetry.metrics` describes each."""
    now = cache.statistics()
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
