"""Pipelines: rows from a source through stages to a sink, each exactly once, with accounts."""

from callboard.actors.pipelines.accounts import PipelineAccount, StageAccount
from callboard.actors.pipelines.batch import DataBatch
from callboard.actors.pipelines.build import build_pipeline
from callboard.actors.pipelines.core import Outcome, Pipeline, PipelineExecutionResult
from callboard.actors.pipelines.errors import (
    PipelineRefused,
    PipelineStopped,
    ProcessorNotFoundError,
    StageFailed,
    StageOutputRefused,
    StageTimedOut,
    StageValidationError,
)
from callboard.actors.pipelines.files import read_pipeline
from callboard.actors.pipelines.letters import DeadRow
from callboard.actors.pipelines.registry import (
    Processor,
    StageEffects,
    StageRegistry,
    StageSettings,
    StageType,
)
from callboard.actors.pipelines.running.actor import (
    PipelineActor,
    PipelineResumed,
    PipelineView,
    QueryPipeline,
    ReceivedSource,
    ResumePipeline,
    RowsAccepted,
    SendRows,
)
from callboard.actors.pipelines.running.figures import PipelineLimits, PipelineStatistics, RunState
from callboard.actors.pipelines.running.outgoing import decode_batch
from callboard.actors.pipelines.running.ports import (
    Delivery,
    InsideSink,
    OutsideSink,
    PipelineSource,
    SourcePage,
)
from callboard.actors.pipelines.running.remote import StageAgent
from callboard.actors.pipelines.running.runner import PipelineRunner
from callboard.actors.pipelines.running.sinks import (
    AskSink,
    CallSink,
    DeliverRows,
    FileSink,
    LogSink,
    MemorySink,
    RouteSink,
    RowsDelivered,
    TableSink,
    read_table,
)
from callboard.actors.pipelines.running.sources import (
    EventSource,
    FileSource,
    LogSource,
    MemorySource,
)
from callboard.actors.pipelines.running.stored import PipelineStore
from callboard.actors.pipelines.spec import (
    DataPipeline,
    ErrorHandlingStrategy,
    ErrorPolicy,
    MonitoringConfiguration,
    PipelineStage,
    StagePlacement,
)
from callboard.actors.pipelines.stages.standard import standard_types

__all__ = [
    "AskSink",
    "CallSink",
    "DataBatch",
    "DataPipeline",
    "DeadRow",
    "DeliverRows",
    "Delivery",
    "ErrorHandlingStrategy",
    "ErrorPolicy",
    "EventSource",
    "FileSink",
    "FileSource",
    "InsideSink",
    "LogSink",
    "LogSource",
    "MemorySink",
    "MemorySource",
    "MonitoringConfiguration",
    "Outcome",
    "OutsideSink",
    "Pipeline",
    "PipelineAccount",
    "PipelineActor",
    "PipelineExecutionResult",
    "PipelineLimits",
    "PipelineRefused",
    "PipelineResumed",
    "PipelineRunner",
    "PipelineSource",
    "PipelineStage",
    "PipelineStatistics",
    "PipelineStopped",
    "PipelineStore",
    "PipelineView",
    "Processor",
    "ProcessorNotFoundError",
    "QueryPipeline",
    "ReceivedSource",
    "ResumePipeline",
    "RouteSink",
    "RowsAccepted",
    "RowsDelivered",
    "RunState",
    "SendRows",
    "SourcePage",
    "StageAccount",
    "StageAgent",
    "StageEffects",
    "StageFailed",
    "StageOutputRefused",
    "StagePlacement",
    "StageRegistry",
    "StageSettings",
    "StageTimedOut",
    "StageType",
    "StageValidationError",
    "TableSink",
    "build_pipeline",
    "decode_batch",
    "read_pipeline",
    "read_table",
    "standard_types",
]
