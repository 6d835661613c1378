"""Parts for the tests of pipelines: stages that misbehave on purpose."""

import json
from collections.abc import Callable
from typing import Any

from callboard.actors.pipelines.batch import DataBatch
from callboard.actors.pipelines.build import build_pipeline
from callboard.actors.pipelines.core import Pipeline
from callboard.actors.pipelines.registry import (
    StageEffects,
    StageRegistry,
    StageSettings,
    StageType,
)
from callboard.actors.pipelines.spec import (
    DataPipeline,
    ErrorHandlingStrategy,
    MonitoringConfiguration,
    PipelineStage,
)
from callboard.actors.pipelines.stages.standard import standard_types

Process = Callable[[DataBatch, StageEffects], Any]
NO_CAP = MonitoringConfiguration(letters_max=10**9, letters_share_max=1.0)


class Calls:
    """A processor that calls a function."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def process(self, batch: DataBatch, effects: StageEffects) -> Any:
        return self._process(batch, effects)


def types_with(**processes: Process) -> StageRegistry:
    """The standard types, and one for each function."""

    def type_of(name: str, process: Process) -> StageType:
        def make(_stage: PipelineStage, _settings: StageSettings) -> Calls:
            return Calls(process)

        return StageType(name, make)

    mine = tuple(type_of(name, process) for name, process in processes.items())
    return StageRegistry((*standard_types(), *mine))


def pipeline_of(
    *stages: PipelineStage,
    types: StageRegistry | None = None,
    strategy: ErrorHandlingStrategy | None = None,
    monitoring: MonitoringConfiguration = NO_CAP,
    name: str = "orders",
) -> Pipeline:
    """A pipeline of these stages."""
    spec = DataPipeline(
        name,
        stages,
        error_handling=strategy or ErrorHandlingStrategy(),
        monitoring=monitoring,
    )
    return build_pipeline(spec, types)


def checked(pipeline: Pipeline) -> Pipeline:
    """The pipeline, after a check of its accounts."""
    assert list(pipeline.account.problems()) == []
    return pipeline


def lines(count: int, *, bad_every: int = 10) -> list[bytes]:
    """JSON lines; every tenth is none."""
    return [
        b"{bad" if bad_every and number % bad_every == 5
        else json.dumps({"id": number, "amount": number - 3}).encode()
        for number in range(count)
    ]  # fmt: skip
