"""The counts of a state manager, as metrics of its host."""

from ..kernel.inspection.metric_sources import Name, Reading
from .states import AgentStateManager

__all__ = ["reading_of"]


def reading_of(states: AgentStateManager) -> Reading:
    """The manager's figures now; `runtime.telemetry.names` describes each metric."""
    now = states.statistics()
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
