"""The gates as a type of stages: a pipeline can validate packages that arrive in a stream.

A row is one source: `files` maps paths to texts. The stage adds `package`, `findings` and
`refusals`; a row that is refused goes where the error policy of the stage says.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ...pipelines.batch import DataBatch
from ...pipelines.registry import Processor, StageEffects, StageSettings, StageType
from ...pipelines.spec import PipelineStage
from ..formats.draft import SourceFile
from ..formats.read import Profile
from .gates import Terms, validate
from .secrets import KeywordScanner

__all__ = ["gates_stage"]


class _Gates:
    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def process(self, batch: DataBatch, effects: StageEffects) -> DataBatch:
        made, passed = list[dict[str, Any]](), list[int]()
        for place in range(batch.rows):
            row, reasons = self._judged(batch.row(place))
            if reasons:
                effects.refuse(place, *reasons)
            else:
                made.append(row)
                passed.append(place)
        return batch.take(passed).with_data(tuple(made))

    def _judged(self, row: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
        files = row.get("files") if isinstance(row, Mapping) else None
        if not isinstance(files, Mapping):
            return {}, ("the row has no files",)
        sources = (
            SourceFile(str(path), str(text).encode("utf-8", "surrogatepass"))
            for path, text in files.items()
        )
        # The time is metadata; rows that were stored before have their own.
        package, result = validate(sources, self._terms, timestamp=datetime.fromtimestamp(0, UTC))
        made = {
            **row,
            "package": package.model_dump(mode="json"),
            "findings": [found.model_dump(mode="json") for found in result.findings],
        }
        return made, result.refusals


def _make(stage: PipelineStage, settings: StageSettings) -> Processor:
    del stage
    profile: Profile = (
        "portable"
        if settings.choice("profile", ("product", "portable"), "product") == "portable"
        else "product"
    )
    return _Gates(
        Terms(
            profile=profile,
            is_strict=settings.take("strict", bool, default=False),
            scanner=KeywordScanner() if settings.take("secrets", bool, default=True) else None,
        )
    )


def gates_stage() -> StageType:
    """The stage type `configuration_gates`, to register it."""
    return StageType("configuration_gates", _make)
