"""All metrics: name, kind, description, and the label of its own where it has one.

Ray's exporter adds the prefix `ray_` to names, and the suffix `_total` to counters. The endpoint of
a node adds the suffix only.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = [
    "EXPOSITION",
    "HOST",
    "METRICS",
    "NODE",
    "RECORDED",
    "Kind",
    "Metric",
    "exposed_name",
]


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

EXECUTIONS: Final = {
    "callboard_executions": Metric(GAUGE, "Executions that run in this process."),
    "callboard_subtasks": Metric(GAUGE, "Sub-tasks of these that have not ended.", "status"),
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

TIERS: Final = {
    "callboard_tier_rounds": Metric(COUNTER, "Rounds of moves between tiers of metrics."),
    "callboard_tier_moves": Metric(COUNTER, "Moves whose windows are in their new place."),
    "callboard_tier_rows": Metric(COUNTER, "Windows that were written into segments."),
    "callboard_tier_bytes": Metric(COUNTER, "Bytes of these segments."),
    "callboard_tier_failures": Metric(COUNTER, "Steps of moves that failed, and are repeated."),
    "callboard_tier_orphans_removed": Metric(
        COUNTER, "Files that nothing referred to at two looks, and that were removed."
    ),
    "callboard_tier_open_moves": Metric(GAUGE, "Moves that are under way."),
    "callboard_tier_refused": Metric(
        GAUGE, "Deletions that wait, because coarser windows do not hold the finer ones yet."
    ),
    "callboard_tier_corrupt_segments": Metric(
        GAUGE, "Segments whose file is missing or changed: restore them from a backup."
    ),
    "callboard_tier_unread_segments": Metric(
        COUNTER, "Segments that queries could not read, because they are missing or changed."
    ),
    "callboard_tier_problems": Metric(GAUGE, "Moves that stood still in the last round."),
}

STREAMING: Final = {
    "callboard_approvals_forgotten": Metric(COUNTER, "Ended approvals that had no room."),
    "callboard_approvals_open": Metric(GAUGE, "Approvals that wait for an answer."),
    "callboard_stream_events_published": Metric(COUNTER, "Events that actors have published."),
    "callboard_stream_events_dropped": Metric(
        COUNTER, "Published events that were dropped on their way to a hub.", "reason"
    ),
    "callboard_stream_events_waiting": Metric(GAUGE, "Published events that wait for the hubs."),
    "callboard_hub_events": Metric(COUNTER, "Events for the clients of the hub.", "fate"),
    "callboard_hub_events_cut": Metric(
        COUNTER, "Events that were too large for clients, and lost their payload."
    ),
    "callboard_hub_source_failures": Metric(
        COUNTER, "Failures of what feeds the hub's channels; it is started again."
    ),
    "callboard_hub_connections": Metric(GAUGE, "Connections of the hub."),
    "callboard_hub_channels": Metric(GAUGE, "Channels of the hub."),
    "callboard_hub_queue_bytes": Metric(GAUGE, "What waits for the hub's clients, in bytes."),
}

RECORDING: Final = {
    "callboard_points_recorded": Metric(COUNTER, "Points that were taken from the host's meter."),
    "callboard_points_accepted": Metric(COUNTER, "Points that aggregators have stored."),
    "callboard_points_dropped": Metric(
        COUNTER, "Points that were dropped on their way to the aggregators.", "reason"
    ),
    "callboard_points_waiting": Metric(GAUGE, "Points that no aggregator has stored yet."),
    "callboard_point_batches_repeated": Metric(COUNTER, "Batches that were sent again."),
    "callboard_series_idle_forgotten": Metric(
        COUNTER, "Series that a host has forgotten, because they got no point for long."
    ),
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
    "callboard_window_series_forgotten": Metric(
        COUNTER, "Series without an open window or a source that aggregators have forgotten."
    ),
    "callboard_window_late_discarded": Metric(
        COUNTER, "Late points that can no longer be read, because newer ones took their room."
    ),
    "callboard_window_series": Metric(GAUGE, "Series of the largest shard of the host."),
    "callboard_window_waiting_points": Metric(
        GAUGE, "Points of a shard that its store has not taken yet."
    ),
    "callboard_window_bytes": Metric(GAUGE, "Bytes of the windows of the largest shard."),
}

NODE: Final = {
    "callboard_node_cpu_seconds": Metric(
        COUNTER, "Seconds that the node's processors have spent since its start.", "mode"
    ),
    "callboard_node_cpus": Metric(GAUGE, "Processors of the node."),
    "callboard_node_load": Metric(
        GAUGE, "Processes that run or wait to, mean of some time.", "over"
    ),
    "callboard_node_memory_bytes": Metric(GAUGE, "Memory of the node.", "state"),
    "callboard_node_swap_used_bytes": Metric(GAUGE, "Swap of the node that is in use."),
    "callboard_node_shared_memory_bytes": Metric(
        GAUGE, "Memory that processes share, as Ray's object store.", "state"
    ),
    "callboard_node_disk_bytes": Metric(
        GAUGE, "The file system with the folder for temporary files.", "state"
    ),
    "callboard_node_disk_read_bytes": Metric(COUNTER, "Bytes that disks have read."),
    "callboard_node_disk_written_bytes": Metric(COUNTER, "Bytes that disks have written."),
    "callboard_node_network_received_bytes": Metric(
        COUNTER, "Bytes that network interfaces have received, without loopback."
    ),
    "callboard_node_network_sent_bytes": Metric(
        COUNTER, "Bytes that network interfaces have sent, without loopback."
    ),
    "callboard_node_network_errors": Metric(
        COUNTER, "Packets with an error, and dropped ones, without loopback."
    ),
    "callboard_node_open_files": Metric(GAUGE, "Open files of all processes of the node."),
    "callboard_node_open_files_max": Metric(GAUGE, "How many files the node can have open."),
}
"""Metrics of a node, taken once for all of its hosts. They have no label `host`."""

EXPOSITION: Final = {
    "callboard_exposition_hosts": Metric(
        GAUGE, "Processes of the node that report their figures to its endpoint."
    ),
    "callboard_exposition_report_age_seconds": Metric(
        GAUGE, "Time since a host's last report: it grows while its event loop is blocked."
    ),
    "callboard_exposition_scrapes": Metric(COUNTER, "Scrapes of the endpoint that were answered."),
    "callboard_exposition_refused": Metric(
        COUNTER, "Connections to the endpoint that got no metrics.", "reason"
    ),
    "callboard_exposition_dropped_series": Metric(
        GAUGE, "Reported series that the endpoint left out.", "reason"
    ),
}
"""Metrics of the endpoint of a node."""

INTAKE: Final = {
    "callboard_scrapes": Metric(COUNTER, "Pages of others that were read, or not.", "outcome"),
    "callboard_scrape_samples_left_out": Metric(
        COUNTER, "Samples of such pages that became no points.", "reason"
    ),
}

TRACES: Final = {
    "callboard_trace_spans": Metric(
        COUNTER,
        "Spans that were sent, refused by the collector, or dropped for want of room; and requests "
        "to lost hosts, whose spans may be lost.",
        "outcome",
    ),
    "callboard_trace_spans_waiting": Metric(GAUGE, "Spans that wait for their sending."),
}

RECORDED: Final[Mapping[str, str]] = {
    "callboard_subtask_seconds": "Time from the sending of an attempt to its result.",
    "callboard_subtask_attempts_total": "Attempts of sub-tasks, by outcome.",
    "callboard_execution_seconds": "Time from the submission of an execution to its end.",
    "callboard_agent_seconds": "Time of an agent's handler for a sub-task.",
    "callboard_agent_failures_total": "Handlers for sub-tasks that raised.",
}
"""What Callboard records by its meter: its points have several tags. `_seconds` are measurements,
`_total` are counters."""

PIPELINES: Final = {
    "callboard_pipeline_read": Metric(COUNTER, "Rows from the source.", "pipeline"),
    "callboard_pipeline_replayed": Metric(COUNTER, "Dead letters that were replayed.", "pipeline"),
    "callboard_pipeline_delivered": Metric(COUNTER, "Rows that the sink has.", "pipeline"),
    "callboard_pipeline_retries": Metric(COUNTER, "Batches that ran again.", "pipeline"),
    "callboard_pipeline_hung": Metric(COUNTER, "Stages that missed their deadline.", "pipeline"),
    "callboard_pipeline_store_failures": Metric(
        COUNTER, "Failures of the store or the source that were waited out.", "pipeline"
    ),
    "callboard_pipeline_deliver_failures": Metric(
        COUNTER, "Deliveries that the sink did not take, each try counted.", "pipeline"
    ),
    "callboard_pipeline_letters_pending": Metric(
        GAUGE, "Dead letters that nobody has replayed or discarded.", "pipeline"
    ),
    "callboard_pipeline_outgoing": Metric(
        GAUGE, "Rows that are durable and on their way to the sink.", "pipeline"
    ),
    "callboard_pipeline_lag_rows": Metric(GAUGE, "Rows that the source still has.", "pipeline"),
    "callboard_pipeline_lag_seconds": Metric(
        GAUGE, "For how long the oldest row in a stage has been there.", "pipeline"
    ),
    "callboard_pipeline_stopped": Metric(
        GAUGE, "1 when the pipeline has stopped itself or failed, else 0.", "pipeline"
    ),
    "callboard_pipeline_stage_rows_in": Metric(COUNTER, "Rows into a stage.", "stage"),
    "callboard_pipeline_stage_rows_out": Metric(COUNTER, "Rows out of a stage.", "stage"),
    "callboard_pipeline_stage_dropped": Metric(
        COUNTER, "Rows that a stage dropped for a reason.", "stage"
    ),
    "callboard_pipeline_stage_letters": Metric(
        COUNTER, "Rows that became dead letters in a stage.", "stage"
    ),
    "callboard_pipeline_stage_failures": Metric(
        COUNTER, "Failures of a stage, each attempt counted.", "stage"
    ),
    "callboard_pipeline_stage_seconds": Metric(
        COUNTER, "Seconds that a stage has worked.", "stage"
    ),
    "callboard_pipeline_stage_buffered": Metric(
        GAUGE, "Rows that a stage keeps between batches.", "stage"
    ),
}

METRICS: Final[Mapping[str, Metric]] = {
    **HOST,
    **SOCKETS,
    **JOURNAL,
    **BLOBS,
    **CACHE,
    **EVENTS,
    **STATES,
    **EXECUTIONS,
    **ALERTS,
    **TIERS,
    **RECORDING,
    **WINDOWS,
    **NODE,
    **EXPOSITION,
    **INTAKE,
    **TRACES,
    **PIPELINES,
    **STREAMING,
}
"""All of them, by name."""


def exposed_name(name: str) -> str:
    """The name of a metric's samples at the endpoint of a node, as queries have to use it."""
    return f"{name}_total" if METRICS[name].kind is Kind.COUNTER else name
