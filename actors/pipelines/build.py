"""Builds a pipeline from its spec: every problem is found before the first row.

A wrong pipeline is refused whole, with every problem and its place.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from callboard.messages.core.errors import CallboardError
from callboard.messages.core.names import shown

from .built import BuiltStage
from .core import Pipeline
from .errors import PipelineRefused, ProcessorNotFoundError
from .registry import StageRegistry, StageSettings, StageType
from .schemas import mismatches, schema_problems
from .spec import (
    DataPipeline,
    ErrorHandlingStrategy,
    ErrorPolicy,
    PipelineStage,
    Schema,
    StagePlacement,
)
from .stages.standard import standard_types

__all__ = ["build_pipeline"]

STAGES_MAX: Final = 100
NAME_CHARACTERS_MAX: Final = 200
ATTEMPTS_MAX: Final = 1_000
TIMEOUT_S_MAX: Final = 86_400.0

Problem = tuple[str, str]
"""The path of a part, and what is wrong with it."""


def build_pipeline(
    spec: DataPipeline,
    registry: StageRegistry | None = None,
    *,
    clock: Callable[[], int] | None = None,
) -> Pipeline:
    """Build a pipeline. `registry` has the stage types; None for the standard ones.

    `clock` gives nanoseconds, for the time that stages take; without one none is measured.
    Raises `PipelineRefused` with every problem, and `ProcessorNotFoundError` when all of them
    are types that are not registered.
    """
    types = registry or StageRegistry(standard_types())
    problems: list[Problem] = list(_of_pipeline(spec))
    stages: list[BuiltStage] = []
    unknown = 0
    schema: Schema = {}
    for number, stage in enumerate(spec.stages):
        path = f"stages[{number}]"
        problems += [(f"{path}.{part}", text) for part, text in _of_stage(stage)]
        stage_type = types.find(stage.type)
        if stage_type is None:
            unknown += 1
            known = ", ".join(types.names()) or "none"
            problems.append((f"{path}.type", f"{shown(stage.type)} is no stage type of {known}"))
            schema = {}
            continue
        built, found = _built(stage, stage_type, spec.error_handling)
        problems += [(f"{path}.{part}", text) for part, text in found]
        before = spec.stages[number - 1].name if number else "the source"
        problems += [
            (f"{path}.input_schema", f"{shown(before)} does not fit {shown(stage.name)}: {text}")
            for text in _fit(schema, stage.input_schema)
        ]
        if not found:
            schema = _after(stage, stage_type, schema or stage.input_schema)
        stages.append(built)
    problems += _of_order(spec, stages)
    if problems:
        refused = ProcessorNotFoundError if unknown == len(problems) else PipelineRefused
        raise refused.of(spec.name, [f"{spec.place(path)}: {text}" for path, text in problems])
    return Pipeline(spec, tuple(stages), clock)


def _of_pipeline(spec: DataPipeline) -> Iterator[Problem]:
    if not spec.name or len(spec.name) > NAME_CHARACTERS_MAX or "/" in spec.name:
        yield "name", f"is {shown(spec.name)}: give a text without '/'"
    if not spec.stages or len(spec.stages) > STAGES_MAX:
        yield "stages", f"has {len(spec.stages)} stages: give 1 to {STAGES_MAX}"
    if spec.version < 1:
        yield "version", f"is {spec.version}: versions begin at 1"
    seen: set[str] = set()
    for number, stage in enumerate(spec.stages):
        if stage.name in seen:
            yield f"stages[{number}].name", f"{shown(stage.name)} is the name of an earlier stage"
        seen.add(stage.name)
    yield from _of_strategy(spec.error_handling, "error_handling")
    limits = spec.monitoring
    if limits.letters_max < 0:
        yield "monitoring.letters_max", f"is {limits.letters_max}: give 0 or more"
    if not 0.0 <= limits.letters_share_max <= 1.0:
        yield "monitoring.letters_share_max", f"is {limits.letters_share_max}: give 0 to 1"
    if limits.letters_share_rows < 1:
        yield "monitoring.letters_share_rows", f"is {limits.letters_share_rows}: give 1 or more"


def _of_strategy(strategy: ErrorHandlingStrategy, path: str) -> Iterator[Problem]:
    if not 1 <= strategy.attempts_max <= ATTEMPTS_MAX:
        yield f"{path}.attempts_max", f"is {strategy.attempts_max}: give 1 to {ATTEMPTS_MAX}"
    if strategy.then is ErrorPolicy.RETRY:
        yield f"{path}.then", "is retry: name what happens after the last attempt"


def _of_stage(stage: PipelineStage) -> Iterator[Problem]:
    if not stage.name or len(stage.name) > NAME_CHARACTERS_MAX:
        yield "name", f"is {shown(stage.name)}: give a text"
    if not (math.isfinite(stage.timeout_s) and 0.0 < stage.timeout_s <= TIMEOUT_S_MAX):
        yield "timeout_s", f"is {stage.timeout_s}: give seconds above 0, up to {TIMEOUT_S_MAX:.0f}"
    for name in ("input_schema", "output_schema"):
        for text in schema_problems(getattr(stage, name)):
            yield name, text
    if stage.error_handling is not None:
        yield from _of_strategy(stage.error_handling, "error_handling")


def _built(
    stage: PipelineStage, stage_type: StageType, default: ErrorHandlingStrategy
) -> tuple[BuiltStage, list[Problem]]:
    settings = StageSettings(stage.configuration)
    problems: list[Problem] = []
    processor: Any = None
    try:
        processor = stage_type.make(stage, settings)
    except (CallboardError, ValueError, TypeError, KeyError) as error:
        problems.append(("configuration", f"{type(error).__name__}: {error}"))
    problems += [(f"configuration.{path}", text) for path, text in settings.check_rest()]
    strategy = default if stage.error_handling is None else stage.error_handling
    return BuiltStage(stage, stage_type, processor, strategy), problems


def _fit(given: Schema, needed: Schema) -> Iterator[str]:
    # A schema that is wrong by itself is reported once, as such.
    if not any(schema_problems(given)) and not any(schema_problems(needed)):
        yield from mismatches(given, needed)


def _after(stage: PipelineStage, stage_type: StageType, schema: Schema) -> Schema:
    if stage.output_schema:
        return stage.output_schema
    known: Mapping[str, Any] = {}
    if stage_type.promises is not None and schema and not any(schema_problems(schema)):
        known = stage_type.promises(stage, schema)
    return known


def _of_order(spec: DataPipeline, stages: list[BuiltStage]) -> Iterator[Problem]:
    last_remote = max(
        (
            place
            for place, stage in enumerate(spec.stages)
            if stage.placement is StagePlacement.POOL
        ),
        default=-1,
    )
    by_name = {built.spec.name: built for built in stages}
    for place, stage in enumerate(spec.stages):
        built = by_name.get(stage.name)
        if built is None or not built.type.keeps_state:
            continue
        if stage.placement is StagePlacement.POOL:
            yield f"stages[{place}].placement", "a stage that keeps rows runs here, not on a pool"
        elif place < last_remote:
            yield (
                f"stages[{place}]",
                "a stage that keeps rows comes after the stages that run on a pool",
            )
