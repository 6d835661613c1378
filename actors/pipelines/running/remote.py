"""A stage on a pool: the request with a batch, the reply, and the agent that answers.

An agent makes the processor of a stage from its settings and keeps it. A processor is a function
of its batch, so any agent may run any batch, and again after a loss.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from pydantic import Field

from callboard.messages.core.codec import Array
from callboard.messages.core.contract import Contract, Request

from ...kernel.actor import Agent, handler
from ..accounts import StageFlow
from ..batch import DataBatch
from ..build import build_pipeline
from ..built import BuiltStage
from ..core import BatchRun, Outcome, Pipeline, PipelineExecutionResult
from ..errors import StageFailed
from ..registry import StageRegistry
from ..spec import DataPipeline, ErrorHandlingStrategy, ErrorPolicy, MonitoringConfiguration
from ..spec import PipelineStage as Stage
from .outgoing import decode_batch, encode_batch

__all__ = ["RunStage", "StageAgent", "StageRan", "ask_of", "reply_into"]

PROCESSORS_MAX: Final = 100


class StageRan(Contract, name="callboard.pipelines.stage_ran"):
    """What a stage did to a batch."""

    rows: bytes
    """The rows that go on, as `encode_batch` gives them."""
    origins: Array
    """For each of them its place in the batch, or -1."""
    passed: int
    dropped: dict[str, int] = Field(default_factory=dict)
    refused: tuple[tuple[int, tuple[str, ...]], ...] = ()
    """The rows that were refused, by their places in the batch, with the reasons."""
    nanoseconds: int = 0


class RunStage(Request[StageRan], name="callboard.pipelines.run_stage"):
    """Run one stage on a batch."""

    pipeline: str
    stage: str
    type: str
    configuration: dict[str, Any]
    output_schema: dict[str, Any]
    finds_rows: bool
    """Whether the agent finds the rows on which the stage fails; otherwise the ask fails."""
    rows: bytes


def ask_of(pipeline: str, built: BuiltStage, attempt: int, batch: DataBatch) -> RunStage:
    """The request for a stage."""
    stage, strategy = built.spec, built.strategy
    is_last = attempt >= strategy.attempts_max
    return RunStage(
        finds_rows=built.policy is not ErrorPolicy.FAIL
        and (strategy.policy is not ErrorPolicy.RETRY or is_last),
        pipeline=pipeline,
        stage=stage.name,
        type=stage.type,
        configuration=dict(stage.configuration),
        output_schema=dict(stage.output_schema),
        rows=encode_batch(batch),
    )


def reply_into(run: BatchRun, reply: StageRan) -> None:
    """Let a run take what a stage did elsewhere."""
    before = run.batch
    decoded = decode_batch(reply.rows)
    after = DataBatch(
        decoded.data,
        decoded.rows,
        source=before.source,
        position=before.position,
        originals=before.originals,
        origins=_through(before, reply.origins),
    )
    flow = StageFlow(
        before.rows, reply.passed, after.rows, reply.nanoseconds, dropped=dict(reply.dropped)
    )
    fates = reply.passed + sum(reply.dropped.values()) + len(reply.refused)
    if fates != before.rows:
        raise StageFailed(
            f"the stage {run.stage.spec.name!r} on a pool says what became of {fates} rows, "
            f"of {before.rows}.",
            advice="Use the same release in all processes.",
        )
    run.take(after, flow, reply.refused)


def _through(before: DataBatch, origins: Any) -> Any:
    if before.origins is None:
        return origins
    found = before.origins[origins.clip(0)]
    found[origins < 0] = -1
    return found


class StageAgent(Agent):
    """Runs stages for pipelines: start a pool of them with `system.pool(StageAgent)`.

    Derive from it to register stage types of your own.
    """

    def __init__(self) -> None:
        self._pipelines: dict[tuple[str, str, str, bool], Pipeline] = {}

    def types(self) -> StageRegistry | None:
        """The stage types that it knows; None for the standard ones."""
        return None

    @handler
    def run_stage(self, request: RunStage) -> StageRan:
        """Run the stage. Raises what it raises, and `PipelineRefused` for wrong settings."""
        key = (
            request.type,
            repr(request.configuration),
            repr(request.output_schema),
            request.finds_rows,
        )
        pipeline = self._pipelines.get(key)
        if pipeline is None:
            if len(self._pipelines) >= PROCESSORS_MAX:
                self._pipelines.clear()
            pipeline = self._pipelines[key] = self._made(request)
        batch = decode_batch(request.rows)
        run = pipeline.begin(batch)
        run.run_everywhere()
        result = run.finish()
        if result.outcome is not Outcome.DONE or result.batch is None:
            raise result.error or StageFailed(f"the stage {request.stage!r} did not end.")
        return _ran(result.batch, result, run)

    def _made(self, request: RunStage) -> Pipeline:
        stage = Stage(
            request.stage,
            request.type,
            output_schema=request.output_schema,
            configuration=request.configuration,
        )
        # Refused rows come back as letters: the pipeline that asks has the policy.
        policy = ErrorPolicy.DEAD_LETTER if request.finds_rows else ErrorPolicy.FAIL
        spec = DataPipeline(
            request.pipeline,
            (stage,),
            error_handling=ErrorHandlingStrategy(policy),
            monitoring=MonitoringConfiguration(letters_max=2**62, letters_share_max=1.0),
        )
        return build_pipeline(spec, self.types())


def _ran(after: DataBatch, result: PipelineExecutionResult, run: BatchRun) -> StageRan:
    flow = run.flows[0]
    dropped: Mapping[str, int] = flow.dropped or {}
    origins = np.arange(after.rows) if after.origins is None else after.origins
    return StageRan(
        rows=encode_batch(after),
        origins=origins,
        passed=flow.passed,
        dropped=dict(dropped),
        refused=tuple(
            (letter.position - after.position, letter.reasons) for letter in result.letters
        ),
    )
