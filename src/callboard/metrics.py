"""Metrics: points, windows by event time, their aggregators and stores."""

from callboard.actors.metrics.aggregation.actor import MetricsAggregator
from callboard.actors.metrics.aggregation.processor import MetricsProcessor, ProcessedPoints
from callboard.actors.metrics.aggregation.shard import ShardLimits, WindowSink
from callboard.actors.metrics.aggregation.storage import ThreadStorage
from callboard.actors.metrics.points import (
    AppendPoints,
    MetricDataPoint,
    MetricSource,
    MetricTags,
    PointBatch,
    PointsAccepted,
    SourceKind,
)
from callboard.actors.metrics.ports import Extent, MetricsStorage, WindowReader
from callboard.actors.metrics.query.readers import CombinedReader
from callboard.actors.metrics.rows import WINDOWS_NS, AggregatedMetric, WindowFlag, WindowRows
from callboard.actors.metrics.series import Matcher, MatcherKind, MetricKind, SeriesKey, series_key
from callboard.actors.metrics.tiers.core import PlanLimits, plan_lines
from callboard.actors.metrics.tiers.reader import SegmentReader
from callboard.actors.metrics.tiers.rules import DEFAULT_RULES
from callboard.actors.metrics.tiers.tiers import MetricTiers, TierRound
from callboard.actors.metrics.tiers.worker import QueryTiers, RunTiers, TiersView, TierTimes
from callboard.actors.metrics.windows.settings import CustomWindow, WindowSettings
from callboard.runtime.api.metrics import SystemMetrics, open_windows
from callboard.runtime.api.tiers import open_archive, open_tiers, start_tiers, tiers_spec
from callboard.runtime.stores.choose import metrics_storage

__all__ = [
    "DEFAULT_RULES",
    "WINDOWS_NS",
    "AggregatedMetric",
    "AppendPoints",
    "CombinedReader",
    "CustomWindow",
    "Extent",
    "Matcher",
    "MatcherKind",
    "MetricDataPoint",
    "MetricKind",
    "MetricSource",
    "MetricTags",
    "MetricTiers",
    "MetricsAggregator",
    "MetricsProcessor",
    "MetricsStorage",
    "PlanLimits",
    "PointBatch",
    "PointsAccepted",
    "ProcessedPoints",
    "QueryTiers",
    "RunTiers",
    "SegmentReader",
    "SeriesKey",
    "ShardLimits",
    "SourceKind",
    "SystemMetrics",
    "ThreadStorage",
    "TierRound",
    "TierTimes",
    "TiersView",
    "WindowFlag",
    "WindowReader",
    "WindowRows",
    "WindowSettings",
    "WindowSink",
    "metrics_storage",
    "open_archive",
    "open_tiers",
    "open_windows",
    "plan_lines",
    "series_key",
    "start_tiers",
    "tiers_spec",
]
