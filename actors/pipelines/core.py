"""A pipeline at work: batches through stages, error policies, dead letters and accounts.

It decides everything and touches nothing: no clock, no store. A caller that needs no durability
calls `run_batch`. A shell begins a run, lets some stages run elsewhere, and finishes it: only
`finish` changes the accounts and the states of stages, so a run that is thrown away has never been.

Invariants: after each `finish` the accounts add up (`PipelineAccount.problems`). A row that a
stage refuses has exactly one fate, and it never takes other rows of its batch along, unless the
stage hangs or keeps state: then the batch shares one fate.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, assert_never, final

import numpy as np

from callboard.messages.core.errors import CallboardError

from .accounts import PipelineAccount, StageFlow
from .batch import DataBatch, joined
from .built import BuiltStage, added, flushed, needs_problem, settled, stated, stopped
from .errors import PipelineStopped, StageValidationError
from .letters import DeadRow, letter_of
from .registry import StageEffects
from .spec import (
    DataPipeline,
    ErrorPolicy,
)

__all__ = [
    "BatchRun",
    "Outcome",
    "Pipeline",
    "PipelineExecutionResult",
    "Retry",
    "StageState",
]

REFUSED: Final = "refused"
"""The reason of refused rows that are dropped without one."""
REASONS_SHOWN: Final = 3


class StageState(NamedTuple):
    """The rows that a stage keeps between batches, as plain values."""

    value: Any
    rows: int


NO_STATE: Final = StageState(None, 0)
NO_FLOW: Final = StageFlow(0, 0, 0, 0)


class Retry(NamedTuple):
    """A stage failed, and is to be tried again with the same batch."""

    stage: str
    error: CallboardError
    attempt: int
    """The attempt that failed, from 1."""


@enum.unique
class Outcome(enum.Enum):
    """How a batch ended."""

    DONE = "done"
    RETRY = "retry"
    """Nothing has changed: run the same batch again, with the next attempt, after a wait."""
    STOPPED = "stopped"
    """Nothing has changed: the pipeline must stop."""


@dataclass(frozen=True, slots=True)
class PipelineExecutionResult:
    """What became of one batch."""

    outcome: Outcome
    """How the batch ended."""
    batch: DataBatch | None
    """The rows that left the last stage; None unless it is done."""
    letters: tuple[DeadRow, ...] = ()
    """The dead letters of the batch."""
    retry: Retry | None = None
    """The stage that is to be tried again; None otherwise."""
    error: CallboardError | None = None
    """Why the pipeline must stop."""


@final
class Pipeline:
    """The stages of a pipeline, their states, and the accounts."""

    def __init__(
        self,
        spec: DataPipeline,
        stages: tuple[BuiltStage, ...],
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.spec: Final = spec
        self.stages: Final = stages
        self.clock: Final = clock
        self.account = PipelineAccount([stage.spec.name for stage in stages])
        self.states: dict[str, StageState] = {}
        self.batches = 0
        """Batches that were finished."""

    def restore(
        self, account: PipelineAccount, states: Mapping[str, StageState], batches: int
    ) -> None:
        """Go on from what a store has."""
        self.account, self.states, self.batches = account, dict(states), batches

    @property
    def buffered(self) -> int:
        """The rows in the states of all stages."""
        return sum(state.rows for state in self.states.values())

    def begin(
        self, batch: DataBatch, *, attempt: int = 1, now: float = 0.0, execution: str = "",
        letter_attempt: int = 1, is_replay: bool = False,
    ) -> "BatchRun":  # fmt: skip
        """Begin a batch. `attempt` counts its runs, `letter_attempt` how often its rows came."""
        return BatchRun(self, batch, attempt, now, execution, letter_attempt, is_replay=is_replay)

    def run_batch(
        self, batch: DataBatch, *, attempt: int = 1, now: float = 0.0, execution: str = ""
    ) -> PipelineExecutionResult:
        """Run a batch through all stages, and count it."""
        run = BatchRun(self, batch, attempt, now, execution, 1, is_replay=False)
        run.run_everywhere()
        result = run.finish()
        if result.batch is not None:
            self.account.deliver(result.batch.rows)
        return result

    def flush(self, *, now: float = 0.0, execution: str = "") -> PipelineExecutionResult:
        """Let every stage give the rows that it keeps: the source has ended."""
        run = self.begin(DataBatch((), 0), now=now, execution=execution)
        run.is_flush = True
        run.advance()
        return run.finish()


class _Refused(NamedTuple):
    row: int
    reasons: tuple[str, ...]


@final
class BatchRun:
    """One batch on its way through the stages."""

    __slots__ = (
        "_execution",
        "_is_replay",
        "_letter_attempt",
        "_letters",
        "_now",
        "_pipeline",
        "_source",
        "_states",
        "attempt",
        "batch",
        "error",
        "flows",
        "index",
        "is_flush",
        "retry",
    )  # fmt: skip

    def __init__(
        self,
        pipeline: Pipeline,
        batch: DataBatch,
        attempt: int,
        now: float,
        execution: str,
        letter_attempt: int,
        *,
        is_replay: bool,
    ) -> None:
        self._pipeline = pipeline
        self._source = batch
        self.attempt = attempt
        self._now = now
        self._execution = execution
        self._letter_attempt = letter_attempt
        self._is_replay = is_replay
        self.flows: list[StageFlow] = []
        """What the batch did to each stage so far."""
        self._letters: list[DeadRow] = []
        self._states: dict[str, StageState] | None = None
        self.batch = batch
        self.index = 0
        """The stage that comes next."""
        self.is_flush = False
        self.retry: Retry | None = None
        self.error: CallboardError | None = None

    @property
    def source(self) -> DataBatch:
        """The batch as it came."""
        return self._source

    @property
    def is_over(self) -> bool:
        """Whether no stage is to run any more."""
        return (
            self.index >= len(self._pipeline.stages)
            or self.retry is not None
            or self.error is not None
        )

    @property
    def stage(self) -> BuiltStage:
        """The stage that comes next, or that runs just now."""
        return self._pipeline.stages[self.index]

    def advance(self, before: int | None = None) -> None:
        """Run stages until the end, before this one, or before one that runs elsewhere."""
        stages = self._pipeline.stages
        end = len(stages) if before is None else before
        while self.index < end and self.retry is None and self.error is None:
            stage = stages[self.index]
            if not stage.runs_here and self.batch.rows:
                break
            self._run(stage)

    def run_everywhere(self) -> None:
        """Run all stages here, also those of a pool."""
        while not self.is_over:
            self._run(self.stage)

    def _run(self, stage: BuiltStage) -> None:
        before = self.batch
        keeps_state = stage.keeps_state
        if not before.rows and not (self.is_flush and keeps_state):
            self.flows.append(NO_FLOW)
            self.index += 1
            return
        problem = needs_problem(stage, before)
        if problem is not None:  # Of every row, so that halves would not help.
            self._failed(stage, problem, can_be_split=False)
            return
        clock = self._pipeline.clock
        began = 0 if clock is None else clock()
        try:
            if keeps_state:
                state = self._state(stage)
                effects = StageEffects(state.value, state.rows)
                after = self._processed(stage, before, effects)
                flow = settled(stage, before, after, effects, state.rows)
            else:
                effects = StageEffects()
                after = stage.processor.process(before, effects)
                flow = settled(stage, before, after, effects, 0)
        except Exception as error:  # noqa: BLE001 - a stage may raise anything
            self._failed(stage, stated(stage, error), can_be_split=True)
            return
        if clock is not None:
            flow.nanoseconds = clock() - began
        if keeps_state:
            self._keep(stage, StageState(effects.state, effects.buffered))
        if effects.refused is not None:
            self._refused(stage, flow, [_Refused(*each) for each in effects.refused], None)
            if self.error is not None:
                return
        self._passed(flow, after)

    def _processed(self, stage: BuiltStage, before: DataBatch, effects: StageEffects) -> DataBatch:
        processor = stage.processor
        parts: list[DataBatch] = []
        if before.rows:
            parts.append(processor.process(before, effects))
        if self.is_flush and stage.keeps_state:
            flushes: Any = processor
            parts.append(flushed(flushes, effects))
        if len(parts) == 1:
            return parts[0]
        full = [part for part in parts if part.rows]
        return joined(full) if full else before.take(())

    def run_here(self) -> None:
        """Run the next stage, wherever it is placed."""
        self._run(self.stage)

    def take(
        self, after: DataBatch, flow: StageFlow, refused: Sequence[tuple[int, tuple[str, ...]]]
    ) -> None:
        """Take what the next stage did elsewhere."""
        self._refused(self.stage, flow, [_Refused(*each) for each in refused], None)
        if self.error is None:
            self._passed(flow, after)

    def fail(self, error: CallboardError) -> None:
        """The next stage did not end in time, or could not be reached: its policy decides."""
        self._failed(self.stage, error, can_be_split=False)

    def stop(self, error: CallboardError) -> None:
        """The pipeline must stop before this batch."""
        self.error = error

    def refuse_output(
        self, refused: Sequence[tuple[int, tuple[str, ...]]], error: CallboardError
    ) -> None:
        """Rows that left the last stage cannot be stored: its policy decides, as if it refused."""
        flow = self.flows[-1]
        if not refused or len(refused) > flow.passed:
            # It has made these rows of fewer ones: there is no row of its own to refuse.
            self.stop(error)
            return
        flow.passed -= len(refused)
        flow.rows_out -= len(refused)
        self._refused(self._pipeline.stages[-1], flow, [_Refused(*each) for each in refused], None)
        rest = np.delete(np.arange(self.batch.rows), [row for row, _ in refused])
        self.batch = self.batch.take(rest)

    # --- what a stage did ------------------------------------------------------------------

    def _state(self, stage: BuiltStage) -> StageState:
        name = stage.spec.name
        if self._states is not None and name in self._states:
            return self._states[name]
        return self._pipeline.states.get(name, NO_STATE)

    def _keep(self, stage: BuiltStage, state: StageState) -> None:
        if self._states is None:
            self._states = {}
        self._states[stage.spec.name] = state

    def _passed(self, flow: StageFlow, after: DataBatch) -> None:
        self.flows.append(flow)
        self.batch = after
        self.index += 1

    def _failed(self, stage: BuiltStage, error: CallboardError, *, can_be_split: bool) -> None:
        strategy = stage.strategy
        if strategy.policy is ErrorPolicy.RETRY and self.attempt < strategy.attempts_max:
            self.retry = Retry(stage.spec.name, error, self.attempt)
            return
        before = self.batch
        flow = StageFlow(before.rows, 0, 0, 0, failures=1)
        if stage.keeps_state and self.is_flush:
            # Its state has rows of earlier batches, which stay where they are.
            self.error = stopped(stage, error)
            return
        splits = can_be_split and not stage.keeps_state and before.rows > 1
        if splits and stage.policy is not ErrorPolicy.FAIL:
            after, refused = self._split(stage, flow)
        else:
            after = before.take(())
            refused = [_Refused(row, (error.message,)) for row in range(before.rows)]
        self._refused(stage, flow, refused, error)
        if self.error is None:
            self._passed(flow, after)

    def _split(self, stage: BuiltStage, flow: StageFlow) -> tuple[DataBatch, list[_Refused]]:
        """Find the rows on which a stage fails, by halves; the others pass."""
        batch = self.batch
        passed: list[DataBatch] = []
        refused: list[_Refused] = []
        pending = [(0, batch.rows)]
        while pending:
            start, stop = pending.pop()
            part = batch.part(start, stop)
            effects = StageEffects()
            try:
                after = stage.processor.process(part, effects)
                flow_of_part = settled(stage, part, after, effects, 0)
            except Exception as error:  # noqa: BLE001 - a stage may raise anything
                flow.failures += 1
                if stop - start > 1:
                    middle = (start + stop) // 2
                    pending += [(middle, stop), (start, middle)]
                else:
                    refused.append(_Refused(start, (stated(stage, error).message,)))
                continue
            passed.append(after)
            flow.passed += flow_of_part.passed
            flow.rows_out += flow_of_part.rows_out
            flow.dropped = added(flow.dropped, flow_of_part.dropped)
            refused += [_Refused(start + row, why) for row, why in effects.refused or ()]
        full = [part for part in passed if part.rows]
        try:
            return (joined(full) if full else batch.take(())), refused
        except Exception as error:  # noqa: BLE001 - a stage may give each part other columns
            flow.failures += 1
            flow.passed, flow.rows_out, flow.dropped = 0, 0, None
            why = (stated(stage, error).message,)
            return batch.take(()), [_Refused(row, why) for row in range(batch.rows)]

    def _refused(
        self,
        stage: BuiltStage,
        flow: StageFlow,
        refused: Sequence[_Refused],
        error: CallboardError | None,
    ) -> None:
        if not refused:
            return
        match stage.policy:
            case ErrorPolicy.FAIL:
                self.error = stopped(stage, error or _validation(stage, refused))
            case ErrorPolicy.DROP:
                reason = stage.strategy.reason or (REFUSED if error is None else error.code)
                flow.dropped = added(flow.dropped, {reason: len(refused)})
            case ErrorPolicy.DEAD_LETTER:
                flow.letters += len(refused)
                self._letters += [self._letter(stage, each) for each in refused]
            case ErrorPolicy.RETRY:
                raise AssertionError("the policy for rows is never to retry")
            case _:
                assert_never(stage.policy)

    def _letter(self, stage: BuiltStage, refused: _Refused) -> DeadRow:
        return letter_of(
            self._source,
            refused.row,
            self.batch,
            refused.reasons,
            stage=stage.spec.name,
            schema_version=self._pipeline.spec.version,
            attempt=self._letter_attempt,
            execution=self._execution,
            at=self._now,
        )

    # --- the end ---------------------------------------------------------------------------

    def finish(self) -> PipelineExecutionResult:
        """Count the batch. Changes nothing when it is to be tried again, or must stop."""
        pipeline = self._pipeline
        account = pipeline.account
        if self.retry is not None:
            account.stages[self.retry.stage].failures += 1
            return PipelineExecutionResult(Outcome.RETRY, None, retry=self.retry)
        if self.error is None and self._letters:
            self.error = self._over_the_cap()
        if self.error is not None:
            return PipelineExecutionResult(Outcome.STOPPED, None, error=self.error)
        assert self.index == len(pipeline.stages), "a run is finished after its last stage"
        for stage, flow in zip(pipeline.stages, self.flows, strict=True):
            account.stages[stage.spec.name].add(flow)
        rows, letters = self._source.rows, len(self._letters)
        if self._is_replay:
            account.replayed += rows
            account.letters_pending -= rows
        else:
            account.read += rows
        account.letters_pending += letters
        account.outgoing += self.batch.rows
        account.count_recent(rows, letters, pipeline.spec.monitoring.letters_share_rows)
        if self._states is not None:
            pipeline.states.update(self._states)
        pipeline.batches += 1
        return PipelineExecutionResult(Outcome.DONE, self.batch, tuple(self._letters))

    def _over_the_cap(self) -> PipelineStopped | None:
        account, limits = self._pipeline.account, self._pipeline.spec.monitoring
        letters = len(self._letters)
        pending = account.letters_pending + letters
        if self._is_replay:
            pending -= self._source.rows
        rows = account.recent_rows + self._source.rows
        recent = account.recent_letters + letters
        over = ""
        if pending > limits.letters_max:
            over = f"{pending:,} dead letters are more than {limits.letters_max:,}"
        elif rows >= limits.letters_share_rows and recent > limits.letters_share_max * rows:
            over = (
                f"{recent:,} of the last {rows:,} rows became dead letters, more than "
                f"{limits.letters_share_max:.1%}"
            )
        if not over:
            return None
        first = "; ".join(
            f"{letter.stage}: {letter.reasons[0] if letter.reasons else 'no reason'}"
            for letter in self._letters[:REASONS_SHOWN]
        )
        return PipelineStopped(
            f"the pipeline {self._pipeline.spec.name!r} stopped before a batch of "
            f"{self._source.rows:,} rows at {self._source.source}:{self._source.position}: "
            f"{over} ({first}).",
            advice="Correct the source or the stage, replay or discard letters, or raise the "
            "limit; then resume the pipeline.",
        )


def _validation(stage: BuiltStage, refused: Sequence[_Refused]) -> StageValidationError:
    first = refused[0]
    return StageValidationError(
        f"the stage {stage.spec.name!r} refuses {len(refused)} rows, the first one because: "
        + "; ".join(first.reasons)
        + "."
    )
