"""A stage as it was built, and what a batch did to it: the rules for what a stage may give."""

from collections.abc import Mapping
from typing import Any, final

from callboard.messages.core.errors import CallboardError

from .accounts import StageFlow
from .batch import DataBatch
from .errors import StageFailed, StageOutputRefused, StageValidationError
from .registry import Flushes, Processor, StageEffects, StageType
from .schemas import ColumnCheck, is_of_columns
from .spec import ErrorHandlingStrategy, ErrorPolicy, PipelineStage, Schema, StagePlacement

__all__ = ["BuiltStage", "added", "flushed", "needs_problem", "settled", "stated", "stopped"]


@final
class BuiltStage:
    """A stage with its processor."""

    __slots__ = (
        "check",
        "keeps_state",
        "may_add_rows",
        "needs",
        "policy",
        "processor",
        "runs_here",
        "spec",
        "strategy",
        "type",
    )

    def __init__(
        self,
        spec: PipelineStage,
        stage_type: StageType,
        processor: Processor,
        strategy: ErrorHandlingStrategy,
    ) -> None:
        self.spec = spec
        self.type = stage_type
        self.processor = processor
        self.keeps_state = stage_type.keeps_state
        self.may_add_rows = stage_type.may_add_rows
        self.strategy = strategy
        self.policy = strategy.then if strategy.policy is ErrorPolicy.RETRY else strategy.policy
        """The policy for rows."""
        self.runs_here = spec.placement is StagePlacement.HERE
        self.check = check_of(spec.output_schema)
        self.needs = check_of(spec.input_schema)
        """The columns that it needs. Rows are checked by a stage of the type `validate`."""


def check_of(schema: Schema) -> ColumnCheck | None:
    return ColumnCheck(schema) if is_of_columns(schema) else None


def needs_problem(stage: BuiltStage, batch: DataBatch) -> StageValidationError | None:
    """Why the columns that come to a stage are wrong; None when they are right."""
    if stage.needs is None or batch.is_rows:
        return None
    problem = stage.needs.problem(batch.columns)
    if not problem:
        return None
    return StageValidationError(
        f"the stage {stage.spec.name!r} gets other columns than it needs: {problem}.",
        advice="Correct the source, or the input schema of the stage.",
    )


def settled(
    stage: BuiltStage, before: DataBatch, after: Any, effects: StageEffects, buffered: int
) -> StageFlow:
    """The flow of a batch through a stage. Raises `StageOutputRefused`."""
    if type(after) is not DataBatch:
        raise wrong(stage, f"gave a {type(after).__name__}, no batch")
    rows: int = before.rows
    refused = effects.refused
    dropped: Mapping[str, int] | None = effects.dropped
    gone = 0
    if dropped is not None:
        gone = sum(dropped.values())
    if refused is not None:
        gone += len(refused)
    passed = rows + buffered - gone - effects.buffered
    if not stage.may_add_rows:
        rest = passed - after.rows
        if rest:
            if rest < 0:
                raise wrong(stage, f"got {rows} rows and gave {after.rows}")
            dropped = added(dropped, {stage.type.name: rest})
            passed = after.rows
    elif passed < 0 or (after.rows and not passed):
        raise wrong(stage, f"names {gone} rows that it left out, of {rows}")
    if stage.check is not None and after.rows and not after.is_rows:
        problem = stage.check.problem(after.columns)
        if problem:
            raise wrong(stage, f"gave other columns: {problem}")
    return StageFlow(rows, passed, after.rows, 0, 0, effects.buffered - buffered, 0, dropped)


def flushed(processor: Flushes, effects: StageEffects) -> DataBatch:
    """The rows that a stage has kept; its state is empty then."""
    after = processor.flush(effects.state)
    effects.state, effects.buffered = None, 0
    return after


def added(
    one: Mapping[str, int] | None, other: Mapping[str, int] | None
) -> Mapping[str, int] | None:
    """The sums of both; each may be missing."""
    if not one or not other:
        return one or other
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


def wrong(stage: BuiltStage, problem: str) -> StageOutputRefused:
    return StageOutputRefused(
        f"the stage {stage.spec.name!r} {problem}.",
        advice="Correct the stage: it names the rows that it leaves out, and adds none.",
    )


def stated(stage: BuiltStage, error: Exception) -> CallboardError:
    """What a stage raised, as an error of Callboard."""
    if isinstance(error, CallboardError):
        return error
    text = str(error)
    failed = StageFailed(
        f"the stage {stage.spec.name!r} raised {type(error).__name__}"
        + (f": {text}." if text else ".")
    )
    failed.__cause__ = error
    return failed


def stopped(stage: BuiltStage, error: CallboardError) -> StageFailed:
    """The error of a pipeline whose stage failed with the policy to stop."""
    failed = StageFailed(
        f"the stage {stage.spec.name!r} has failed, and its policy is to stop: {error.message}",
        advice=error.advice or "Correct the stage or its input, then resume the pipeline.",
    )
    failed.__cause__ = error
    return failed
