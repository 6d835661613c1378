"""All metrics: name, kind, description, and the label of its own where it has one.

Ray's exporter adds the prefix `ray_` to names, and the suffix `_total` to counters.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["METRICS", "Kind", "Metric", "exposed_name"]


@enum.unique
class Kind(enum.Enum):
    """The kind of a metric."""

    GAUGE = "gauge"
    """The value goes up and down."""
    COUNTER = "counter"
    """The value grows, and starts at 0 with each incarnation of a host."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    kind: Kind
    text: str
    label: str = ""
    """The label that distinguishes several values on one host; it has a closed set of values."""


GAUGE: Final = Kind.GAUGE
COUNTER: Final = Kind.COUNTER

HOST: Final = {
    "callboard_actors": Metric(GAUGE, "Actors on the host."),
    "callboard_mailbox_messages": Metric(GAUGE, "Messages in all mailboxes."),
    "callboard_mailbox_messages_max": Metric(GAUGE, "Messages in the fullest mailbox."),
    "callboard_pending_asks": Metric(GAUGE, "Asks to other hosts that have no outcome yet."),
    "callboard_loop_lag_seconds": Metric(GAUGE, "How late timers were, mean of the last 10 s."),
    "callboard_loop_lag_seconds_max": Metric(
        GAUGE, "How late timers were, worst of the last 10 s."
    ),
    "callboard_hosts_replaced": Metric(
        GAUGE, "Hosts that were replaced since the start; of the control host only."
    ),
    "callboard_threads_hung": Metric(
        GAUGE, "Synchronous handlers that run in a thread after their time."
    ),
    "callboard_threads_refused": Metric(
        COUNTER, "Asks to synchronous handlers that got no thread, because too many hang."
    ),
    "callboard_messages_handled": Metric(COUNTER, "Messages that were handled."),
    "callboard_restarts": Metric(COUNTER, "Restarts of actors."),
    "callboard_deaths": Metric(COUNTER, "Actors that failed or did not start, restarted or not."),
    "callboard_dead_letters": Metric(COUNTER, "Messages without a receiver."),
    "callboard_frames_sent": Metric(COUNTER, "Frames sent to other hosts."),
    "callboard_frames_received": Metric(COUNTER, "Frames received from other hosts."),
    "callboard_frames_resent": Metric(COUNTER, "Frames that had to be sent again."),
    "callboard_bytes_sent": Metric(COUNTER, "Bytes of the frames sent."),
    "callboard_bytes_received": Metric(COUNTER, "Bytes of the frames received."),
}

SOCKETS: Final = {
    "callboard_connections_refused": Metric(
        COUNTER, "Connections to the sockets of the process that were refused.", "reason"
    ),
    "callboard_links_between_nodes": Metric(
        GAUGE, "Links to other nodes that use TCP, or Ray calls because TCP failed.", "way"
    ),
    "callboard_connections_failed": Metric(
        COUNTER, "TCP connections to other nodes that broke, or could not be made.", "reason"
    ),
}

JOURNAL: Final = {
    "callboard_journal_appends": Metric(COUNTER, "Appends that are durable."),
    "callboard_journal_events": Metric(COUNTER, "Events that are durable."),
    "callboard_journal_bytes": Metric(COUNTER, "Bytes of these events, data and metadata."),
    "callboard_journal_commits": Metric(COUNTER, "Committed groups."),
    "callboard_journal_commit_seconds": Metric(COUNTER, "Seconds that commits have taken."),
    "callboard_journal_retries": Metric(COUNTER, "Commits that were repeated."),
    "callboard_journal_refused": Metric(
        COUNTER, "Appends that the log refused: a wrong version, a reused id, too large."
    ),
    "callboard_journal_failed": Metric(COUNTER, "Appends that failed because the store did."),
    "callboard_journal_faults": Metric(COUNTER, "Failed attempts to commit.", "fault"),
    "callboard_journal_waiting_events": Metric(GAUGE, "Events that wait for a commit."),
}

BLOBS: Final = {
    "callboard_blobs_stored": Metric(COUNTER, "Results that were stored outside the journal."),
    "callboard_blobs_shared": Metric(COUNTER, "Of these, results that the store had already."),
    "callboard_blobs_bytes": Metric(COUNTER, "Bytes of the results that the store did not have."),
    "callboard_blobs_lost": Metric(COUNTER, "Stored results that were gone at a resume."),
    "callboard_blobs_faults": Metric(COUNTER, "Failed attempts to store a result.", "fault"),
}

CACHE: Final = {
    "callboard_cache_hits": Metric(COUNTER, "Keys that were found in a tier.", "tier"),
    "callboard_cache_misses": Metric(COUNTER, "Keys that were not found in a tier.", "tier"),
    "callboard_cache_evicted": Metric(COUNTER, "Entries that were evicted."),
    "callboard_cache_loads": Metric(COUNTER, "Loads of values that were in no tier."),
    "callboard_cache_loads_shared": Metric(COUNTER, "Callers that waited for another's load."),
    "callboard_cache_invalidations": Metric(COUNTER, "Invalidation messages between nodes.", "way"),
    "callboard_cache_redis_lost": Metric(COUNTER, "Times that Redis was found to be down."),
    "callboard_cache_redis_back": Metric(COUNTER, "Times that Redis was back."),
    "callboard_cache_redis_skipped": Metric(
        COUNTER, "Calls that were skipped because Redis was down."
    ),
    "callboard_cache_redis_down": Metric(GAUGE, "1 while Redis is down, else 0."),
    "callboard_cache_redis_owed": Metric(GAUGE, "Keys to delete from Redis when it is back."),
    "callboard_cache_bytes": Metric(GAUGE, "Bytes in the local tier."),
}

EVENTS: Final = {
    "callboard_projection_lag_positions": Metric(
        GAUGE, "Positions that the read model is behind the log.", "projection"
    ),
    "callboard_projection_lag_seconds": Metric(
        GAUGE, "Age in the log of the oldest event that is not in the read model.", "projection"
    ),
    "callboard_projection_stopped": Metric(
        GAUGE, "1 when an event has stopped the projection, else 0.", "projection"
    ),
    "callboard_projection_events": Metric(COUNTER, "Events applied.", "projection"),
    "callboard_projection_pages": Metric(COUNTER, "Transactions of the read model.", "projection"),
    "callboard_projection_failures": Metric(
        COUNTER, "Events that could not be folded, each try counted.", "projection"
    ),
    "callboard_projection_store_failures": Metric(
        COUNTER, "Failures of the store or the log that ended in a retry.", "projection"
    ),
    "callboard_projection_skipped": Metric(
        COUNTER, "Unknown events that were skipped.", "projection"
    ),
    "callboard_consumers_lag_positions": Metric(
        GAUGE, "Positions that the group's checkpoint is behind the log.", "group"
    ),
    "callboard_consumers_parked": Metric(GAUGE, "Events that are parked now.", "group"),
    "callboard_consumers_acks": Metric(COUNTER, "Events that a consumer acknowledged.", "group"),
    "callboard_consumers_nacks": Metric(COUNTER, "Events that a consumer rejected.", "group"),
    "callboard_consumers_parkings": Metric(COUNTER, "Events that were parked.", "group"),
}

STATES: Final = {
    "callboard_states_stored": Metric(COUNTER, "States that were stored."),
    "callboard_states_conflicts": Metric(
        COUNTER, "Changes that were refused because another change came first."
    ),
    "callboard_states_read": Metric(COUNTER, "States that were read.", "source"),
    "callboard_states_cache_failures": Metric(COUNTER, "Calls of the cache that failed."),
    "callboard_states_notified": Metric(COUNTER, "Changes that were published."),
    "callboard_states_publish_failures": Metric(COUNTER, "Times that publishing failed."),
    "callboard_states_pending_notifications": Metric(
        GAUGE, "Executions whose newest change is not published yet."
    ),
}

ALERTS: Final = {
    "callboard_alerts_firing": Metric(GAUGE, "Alerts that fire.", "severity"),
    "callboard_alerts_rules_failing": Metric(GAUGE, "Alert rules that cannot be evaluated."),
    "callboard_alerts_rules_without_data": Metric(
        GAUGE, "Alert rules that name a metric that does not exist."
    ),
    "callboard_alerts_undelivered": Metric(GAUGE, "Notifications that are not delivered yet."),
    "callboard_alerts_evaluations": Metric(COUNTER, "Evaluations of alert rules."),
    "callboard_alerts_evaluation_failures": Metric(COUNTER, "Evaluations that failed."),
    "callboard_alerts_evaluations_missed": Metric(
        COUNTER, "Moments at which a group of rules was not evaluated: the one before took longer."
    ),
    "callboard_alerts_notifications": Metric(
        COUNTER, "Notifications that were delivered, given up, or withdrawn.", "outcome"
    ),
    "callboard_alerts_attempts_failed": Metric(COUNTER, "Failed attempts to notify a receiver."),
    "callboard_alerts_muted": Metric(
        COUNTER, "Alerts that were kept from their receivers.", "reason"
    ),
    "callboard_alerts_store_failures": Metric(
        COUNTER, "Times that the states of alerts could not be stored."
    ),
}

EXECUTIONS: Final = {
    "callboard_executions": Metric(GAUGE, "Executions that run in this process."),
    "callboard_subtasks": Metric(GAUGE, "Sub-tasks of these that have not ended.", "status"),
}

RECORDING: Final = {
    "callboard_points_recorded": Metric(COUNTER, "Points that were taken from the host's meter."),
    "callboard_points_accepted": Metric(COUNTER, "Points that aggregators have stored."),
    "callboard_points_dropped": Metric(
        COUNTER, "Points that were dropped on their way to the aggregators.", "reason"
    ),
    "callboard_points_waiting": Metric(GAUGE, "Points that no aggregator has stored yet."),
    "callboard_point_batches_repeated": Metric(COUNTER, "Batches that were sent again."),
    "callboard_point_source_failures": Metric(COUNTER, "Failures of sources of points."),
    "callboard_series_recorded": Metric(GAUGE, "Series of the host's meter."),
}

WINDOWS: Final = {
    "callboard_window_points": Metric(
        COUNTER, "Points that have reached an aggregator, by what became of them.", "outcome"
    ),
    "callboard_window_commits": Metric(COUNTER, "Commits of aggregators."),
    "callboard_window_log_bytes": Metric(COUNTER, "Bytes of changes that were committed."),
    "callboard_window_states": Metric(COUNTER, "Commits of a whole state of a shard."),
    "callboard_window_state_bytes": Metric(COUNTER, "Bytes of these states."),
    "callboard_window_retries": Metric(COUNTER, "Commits of aggregators that were repeated."),
    "callboard_window_restores": Metric(
        COUNTER, "Times that a shard went back to its store, after a commit of unknown outcome."
    ),
    "callboard_window_closed": Metric(COUNTER, "Windows that have closed, or were corrected."),
    "callboard_window_late_discarded": Metric(
        COUNTER, "Late points that can no longer be read, because newer ones took their room."
    ),
    "callboard_window_series": Metric(GAUGE, "Series of the largest shard of the host."),
    "callboard_window_waiting_points": Metric(
        GAUGE, "Points of a shard that its store has not taken yet."
    ),
    "callboard_window_bytes": Metric(GAUGE, "Bytes of the windows of the largest shard."),
}

METRICS: Final[Mapping[str, Metric]] = {
    **HOST,
    **SOCKETS,
    **JOURNAL,
    **BLOBS,
    **CACHE,
    **EVENTS,
    **STATES,
    **ALERTS,
    **EXECUTIONS,
    **RECORDING,
    **WINDOWS,
}
"""All of them, by name."""


def exposed_name(name: str) -> str:
    """The name of a metric's samples at the endpoint of a node, as queries have to use it."""
    return f"{name}_total" if METRICS[name].kind is Kind.COUNTER else name
