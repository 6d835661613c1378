"""Metrics: points, windows by event time, their aggregators and stores."""

from callboard.actors.kernel.inspection.meter import Counter, Gauge, Histogram, Meter
from callboard.actors.metrics.aggregation.actor import MetricsAggregator
from callboard.actors.metrics.aggregation.processor import MetricsProcessor, ProcessedPoints
from callboard.actors.metrics.aggregation.shard import ShardLimits, WindowSink
from callboard.actors.metrics.aggregation.storage import ThreadStorage
from callboard.actors.metrics.errors import QueryRefused
from callboard.actors.metrics.points import (
    AppendPoints,
    MetricDataPoint,
    MetricSource,
    MetricTags,
    PointBatch,
    PointsAccepted,
    SourceKind,
)
from callboard.actors.metrics.ports import (
    Evaluator,
    Extent,
    MetricsStorage,
    Sample,
    WindowReader,
)
from callboard.actors.metrics.query.feed import newest_windows
from callboard.actors.metrics.query.missing import allow_missing
from callboard.actors.metrics.query.prometheus_api import ApiAnswer, PrometheusApi
from callboard.actors.metrics.query.promql.evaluator import ExpressionEvaluator, RangeValues
from callboard.actors.metrics.query.question import (
    ListMetrics,
    MetricsAnswered,
    MetricsListed,
    QueryMetrics,
    SeriesAnswered,
)
from callboard.actors.metrics.query.range_query import (
    Function,
    MetricsQuery,
    QueryResult,
    QuerySeries,
    function_named,
    run_query,
)
from callboard.actors.metrics.query.readers import CombinedReader, MemoryWindows
from callboard.actors.metrics.query.window_samples import WindowSamples
from callboard.actors.metrics.recording.columns import PointColumns
from callboard.actors.metrics.recording.options import RecordingLimits, RecordingOptions
from callboard.actors.metrics.recording.resets import CounterResets
from callboard.actors.metrics.recording.sources import PointSource, columns_of_points, polled
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
from callboard.runtime.telemetry.intake.otlp import OtlpDecoder, OtlpReceived
from callboard.runtime.telemetry.intake.received import IntakeLimits
from callboard.runtime.telemetry.intake.scraper import Scraper, ScrapeTarget, targets_in
from callboard.runtime.telemetry.node_points import NodeSource

__all__ = [
    "DEFAULT_RULES",
    "WINDOWS_NS",
    "AggregatedMetric",
    "ApiAnswer",
    "AppendPoints",
    "CombinedReader",
    "Counter",
    "CounterResets",
    "CustomWindow",
    "Evaluator",
    "ExpressionEvaluator",
    "Extent",
    "Function",
    "Gauge",
    "Histogram",
    "IntakeLimits",
    "ListMetrics",
    "Matcher",
    "MatcherKind",
    "MemoryWindows",
    "Meter",
    "MetricDataPoint",
    "MetricKind",
    "MetricSource",
    "MetricTags",
    "MetricTiers",
    "MetricsAggregator",
    "MetricsAnswered",
    "MetricsListed",
    "MetricsProcessor",
    "MetricsQuery",
    "MetricsStorage",
    "NodeSource",
    "OtlpDecoder",
    "OtlpReceived",
    "PlanLimits",
    "PointBatch",
    "PointColumns",
    "PointSource",
    "PointsAccepted",
    "ProcessedPoints",
    "PrometheusApi",
    "QueryMetrics",
    "QueryRefused",
    "QueryResult",
    "QuerySeries",
    "QueryTiers",
    "RangeValues",
    "RecordingLimits",
    "RecordingOptions",
    "RunTiers",
    "Sample",
    "ScrapeTarget",
    "Scraper",
    "SegmentReader",
    "SeriesAnswered",
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
    "WindowSamples",
    "WindowSettings",
    "WindowSink",
    "allow_missing",
    "columns_of_points",
    "function_named",
    "metrics_storage",
    "newest_windows",
    "open_archive",
    "open_tiers",
    "open_windows",
    "plan_lines",
    "polled",
    "run_query",
    "series_key",
    "start_tiers",
    "targets_in",
    "tiers_spec",
]
