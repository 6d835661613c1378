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
from callboard.actors.metrics.rows import WINDOWS_NS, AggregatedMetric, WindowFlag, WindowRows
from callboard.actors.metrics.series import Matcher, MatcherKind, MetricKind, SeriesKey, series_key
from callboard.actors.metrics.windows.settings import CustomWindow, WindowSettings
from callboard.runtime.api.metrics import SystemMetrics, open_windows
from callboard.runtime.stores.choose import metrics_storage

__all__ = [
    "WINDOWS_NS",
    "AggregatedMetric",
    "AppendPoints",
    "CustomWindow",
    "Extent",
    "Matcher",
    "MatcherKind",
    "MetricDataPoint",
    "MetricKind",
    "MetricSource",
    "MetricTags",
    "MetricsAggregator",
    "MetricsProcessor",
    "MetricsStorage",
    "PointBatch",
    "PointsAccepted",
    "ProcessedPoints",
    "SeriesKey",
    "ShardLimits",
    "SourceKind",
    "SystemMetrics",
    "ThreadStorage",
    "WindowFlag",
    "WindowReader",
    "WindowRows",
    "WindowSettings",
    "WindowSink",
    "metrics_storage",
    "open_windows",
    "series_key",
]
