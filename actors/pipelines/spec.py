"""A pipeline as data: its stages, what errors do, and what is monitored.

A spec is frozen and says nothing about what a stage type is: `build.py` checks it as a whole
against a registry of types.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from callboard.messages.control.spec import Backoff

__all__ = [
    "LETTERS_MAX",
    "LETTERS_SHARE_MAX",
    "ColumnSchema",
    "DataPipeline",
    "ErrorHandlingStrategy",
    "ErrorPolicy",
    "MonitoringConfiguration",
    "PipelineStage",
    "Schema",
    "StagePlacement",
]

LETTERS_MAX: Final = 10_000
LETTERS_SHARE_MAX: Final = 0.02
ATTEMPTS_DEFAULT: Final = 3

ColumnSchema: TypeAlias = Mapping[str, str]
"""For columns: the type of each column, as numpy names it (`float64`, `int64`, `str`)."""
Schema: TypeAlias = Mapping[str, Any]
"""`{"columns": ColumnSchema}` for columns, otherwise a JSON Schema of a row; empty for any."""


@enum.unique
class ErrorPolicy(enum.StrEnum):
    """What happens to rows that a stage refuses or fails on."""

    FAIL = "fail"
    """The pipeline stops before their batch."""
    DROP = "drop"
    """They are dropped, and counted under a reason."""
    DEAD_LETTER = "dead_letter"
    """Each becomes a dead letter, which can be replayed."""
    RETRY = "retry"
    """The stage is tried again after a back-off; then the policy `then` decides.

    Rows that a stage refuses are no failure of the stage: `then` decides at once."""


@dataclass(frozen=True, slots=True)
class ErrorHandlingStrategy:
    """The error policy of a stage, or of all stages without one."""

    policy: ErrorPolicy = ErrorPolicy.DEAD_LETTER
    """What happens to the rows."""
    reason: str = ""
    """The reason under which rows are dropped; without one the kind of the failure."""
    attempts_max: int = ATTEMPTS_DEFAULT
    """With `RETRY`: the most attempts, the first included."""
    backoff: Backoff = field(default_factory=lambda: Backoff(min_s=0.1, max_s=30.0))
    """With `RETRY`: the waits before further attempts."""
    then: ErrorPolicy = ErrorPolicy.DEAD_LETTER
    """With `RETRY`: what happens after the last attempt."""


@dataclass(frozen=True, slots=True)
class MonitoringConfiguration:
    """The limits at which a pipeline stops by itself."""

    letters_max: int = LETTERS_MAX
    """With more dead letters that nobody has replayed or discarded, the pipeline stops."""
    letters_share_max: float = LETTERS_SHARE_MAX
    """With a larger share of dead letters among the last rows, the pipeline stops."""
    letters_share_rows: int = 1_000
    """The share counts over at least this many rows, and at most about ten times as many."""


@enum.unique
class StagePlacement(enum.StrEnum):
    """Where a stage runs."""

    HERE = "here"
    """In the process of the pipeline, between its neighbours."""
    POOL = "pool"
    """As requests to a pool of agents on all hosts. The order of batches is kept."""


@dataclass(frozen=True, slots=True)
class PipelineStage:
    """One stage: a type from the registry, and its settings."""

    name: str
    """Its name, unique in the pipeline."""
    type: str
    """The name of a stage type in the registry."""
    input_schema: Schema = field(default_factory=dict)
    """What the stage needs of each row. Empty: anything."""
    output_schema: Schema = field(default_factory=dict)
    """What the stage promises about each row. Empty: what the type says of its settings."""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    """The settings of its type."""
    error_handling: ErrorHandlingStrategy | None = None
    """None for that of the pipeline."""
    timeout_s: float = 30.0
    """A stage that takes longer for one batch counts as failed. A pipeline that runs inside a
    caller's own call, as `Pipeline.run_batch` does, cannot interrupt a stage."""
    placement: StagePlacement = StagePlacement.HERE
    """Where it runs."""


@dataclass(frozen=True, slots=True)
class DataPipeline:
    """A pipeline: a name, the stages in their order, and what holds for all of them."""

    name: str
    """Its name: the store keeps its position under it."""
    stages: tuple[PipelineStage, ...]
    """The stages, in their order."""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    """StageSettings of the source and the sink, and of nothing else; see docs/pipelines.md."""
    error_handling: ErrorHandlingStrategy = field(default_factory=ErrorHandlingStrategy)
    """The policy of stages without one of their own."""
    monitoring: MonitoringConfiguration = field(default_factory=MonitoringConfiguration)
    """The limits at which it stops by itself."""
    version: int = 1
    """Grows with each change of the stages: dead letters name it."""
    places: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Where each part was written (`orders.yaml, line 7`), by its path (`stages[0].type`)."""

    def place(self, path: str) -> str:
        """Where a part was written, or its path; the nearest known part around it."""
        parts = path
        while parts:
            if parts in self.places:
                where = self.places[parts]
                return f"{where} ({path})"
            cut = max(parts.rfind("."), parts.rfind("["))
            parts = parts[:cut] if cut > 0 else ""
        return path
