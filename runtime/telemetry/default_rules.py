"""The rules for Callboard itself, which every system with alerts has unless it says otherwise.

They use only metrics of `runtime/telemetry/names.py`, where counters end with `_total`; a test
holds that. Thresholds are low where a healthy system has none at all, and otherwise such that a
short peak does not fire.
"""

from typing import Final

from callboard.actors.alerts.rules import AlertRule, OnMissing, RuleGroup

__all__ = ["DEFAULT_GROUP", "NO_METRICS", "default_groups"]

DEFAULT_GROUP: Final = "callboard"
NO_METRICS: Final = "CallboardNoMetrics"


def _rule(
    name: str, severity: str, expression: str, summary: str, *, for_s: float = 0.0, below: str = ""
) -> AlertRule:
    return AlertRule(
        name=name,
        expression=expression,
        for_s=for_s,
        keep_firing_while=below,
        on_missing=OnMissing.IGNORE,  # Not every system has projections, a cache, ...
        labels={"severity": severity},
        annotations={"summary": summary},
    )


def default_groups() -> tuple[RuleGroup, ...]:
    """The group of these rules, evaluated each minute."""
    rules = (
        *_host_rules(),
        *_storage_rules(),
        *_event_rules(),
        *_metric_rules(),
        *_pipeline_rules(),
        *_tier_rules(),
        *_node_rules(),
        *_own_rules(),
    )
    return (RuleGroup(name=DEFAULT_GROUP, rules=rules),)


def _host_rules() -> tuple[AlertRule, ...]:
    return (
        _rule(
            "CallboardHostReplaced",
            "critical",
            "max_over_time(callboard_hosts_replaced[10m]) - "
            "min_over_time(callboard_hosts_replaced[10m]) > 0",
            "{{ $value }} hosts were lost and replaced within 10 minutes.",
        ),
        _rule(
            "CallboardRestarts",
            "warning",
            "increase(callboard_restarts_total[5m]) > 10",
            "Actors were restarted {{ $value }} times within 5 minutes: see `callboard why`.",
            below="increase(callboard_restarts_total[5m]) > 2",
        ),
        _rule(
            "CallboardDeadLetters",
            "warning",
            "increase(callboard_dead_letters_total[5m]) > 0",
            "{{ $value }} messages had no receiver within 5 minutes.",
            for_s=120.0,
        ),
        _rule(
            "CallboardLoopLag",
            "warning",
            "max_over_time(callboard_loop_lag_seconds_max[5m]) > 0.5",
            "An event loop was late by {{ $value }} s: a handler blocks it.",
            for_s=120.0,
            below="max_over_time(callboard_loop_lag_seconds_max[5m]) > 0.2",
        ),
        _rule(
            "CallboardMailboxFull",
            "warning",
            "callboard_mailbox_messages_max > 9000",
            "The fullest mailbox of a host has {{ $value }} messages.",
            for_s=300.0,
            below="callboard_mailbox_messages_max > 5000",
        ),
        _rule(
            "CallboardThreadsHung",
            "warning",
            "callboard_threads_hung > 0",
            "{{ $value }} synchronous handlers run after their time.",
            for_s=300.0,
        ),
        _rule(
            "CallboardConnectionsFailed",
            "warning",
            "increase(callboard_connections_failed_total[10m]) > 5",
            "{{ $value }} connections between nodes failed within 10 minutes "
            "({{ $labels.reason }}).",
        ),
    )


def _storage_rules() -> tuple[AlertRule, ...]:
    return (
        _rule(
            "CallboardJournalBehind",
            "warning",
            "callboard_journal_waiting_events > 10000",
            "{{ $value }} events wait for a commit of the journal.",
            for_s=120.0,
            below="callboard_journal_waiting_events > 2000",
        ),
        _rule(
            "CallboardJournalFailing",
            "critical",
            "increase(callboard_journal_faults_total[5m]) > 0",
            "The store of the journal failed {{ $value }} times within 5 minutes "
            "({{ $labels.fault }}).",
        ),
        _rule(
            "CallboardResultsLost",
            "critical",
            "increase(callboard_blobs_lost_total[1h]) > 0",
            "{{ $value }} stored results were gone at a resume.",
        ),
        _rule(
            "CallboardRedisDown",
            "warning",
            "callboard_cache_redis_down > 0",
            "The second tier of the cache does not answer.",
            for_s=300.0,
        ),
        _rule(
            "CallboardStatesUnpublished",
            "warning",
            "callboard_states_pending_notifications > 1000",
            "Changes of {{ $value }} executions are not published.",
            for_s=300.0,
        ),
    )


def _event_rules() -> tuple[AlertRule, ...]:
    return (
        _rule(
            "CallboardProjectionStopped",
            "critical",
            "callboard_projection_stopped > 0",
            "An event has stopped the projection {{ $labels.projection }}.",
        ),
        _rule(
            "CallboardProjectionBehind",
            "warning",
            "callboard_projection_lag_seconds > 60",
            "The projection {{ $labels.projection }} is {{ $value }} s behind its log.",
            for_s=300.0,
            below="callboard_projection_lag_seconds > 10",
        ),
        _rule(
            "CallboardEventsParked",
            "warning",
            "callboard_consumers_parked > 0",
            "{{ $value }} events of the group {{ $labels.group }} are parked.",
            for_s=300.0,
        ),
    )


def _metric_rules() -> tuple[AlertRule, ...]:
    return (
        _rule(
            NO_METRICS,
            "critical",
            "absent(callboard_actors)",
            "No host has recorded its figures: other rules see nothing.",
            for_s=300.0,
        ),
        _rule(
            "CallboardPointsDropped",
            "warning",
            "increase(callboard_points_dropped_total[5m]) > 0",
            "{{ $value }} points of metrics were dropped within 5 minutes ({{ $labels.reason }}).",
            for_s=120.0,
        ),
        _rule(
            "CallboardPointsLate",
            "warning",
            'increase(callboard_window_points_total{outcome="late"}[10m]) > 0',
            "{{ $value }} points came too late for their windows within 10 minutes.",
            for_s=300.0,
        ),
        _rule(
            "CallboardWindowsNotStored",
            "critical",
            "increase(callboard_window_retries_total[5m]) > 5",
            "The store of metrics failed {{ $value }} times within 5 minutes.",
        ),
    )


def _pipeline_rules() -> tuple[AlertRule, ...]:
    return (
        _rule(
            "CallboardPipelineStopped",
            "critical",
            "callboard_pipeline_stopped > 0",
            "The pipeline {{ $labels.pipeline }} has stopped: see `callboard pipelines show`.",
        ),
        _rule(
            "CallboardPipelineLetters",
            "warning",
            "callboard_pipeline_letters_pending > 0",
            "The pipeline {{ $labels.pipeline }} has {{ $value }} dead letters: see "
            "`callboard letters list`.",
            for_s=300.0,
        ),
    )


def _tier_rules() -> tuple[AlertRule, ...]:
    return (
        _rule(
            "CallboardSegmentsCorrupt",
            "critical",
            "callboard_tier_corrupt_segments > 0",
            "{{ $value }} segments of metrics are missing or changed: restore them from a backup.",
        ),
        _rule(
            "CallboardTierMovesStandStill",
            "warning",
            "callboard_tier_problems > 0",
            "{{ $value }} moves of metrics into segments stand still.",
            for_s=300.0,
        ),
    )


def _node_rules() -> tuple[AlertRule, ...]:
    return (
        _rule(
            "CallboardNodeDiskFull",
            "critical",
            'callboard_node_disk_bytes{state="available"} / ignoring(state) '
            'callboard_node_disk_bytes{state="total"} < 0.05',
            "The disk of a node has {{ $value }} of its room left: less than a twentieth.",
            for_s=60.0,
            below='callboard_node_disk_bytes{state="available"} / ignoring(state) '
            'callboard_node_disk_bytes{state="total"} < 0.1',
        ),
    )


def _own_rules() -> tuple[AlertRule, ...]:
    return (
        _rule(
            "CallboardRulesFailing",
            "warning",
            "callboard_alerts_rules_failing > 0",
            "{{ $value }} alert rules cannot be evaluated: see `callboard alerts`.",
            for_s=300.0,
        ),
        _rule(
            "CallboardNotificationsGivenUp",
            "critical",
            'increase(callboard_alerts_notifications_total{outcome="given_up"}[15m]) > 0',
            "{{ $value }} notifications of alerts reached nobody within 15 minutes.",
        ),
    )
