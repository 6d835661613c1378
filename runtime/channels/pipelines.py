"""The channel `pipelines`: the state and the figures of each pipeline of the system."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from callboard.actors.pipelines.running.actor import PipelineView, QueryPipeline
from callboard.actors.streaming.polled import PolledSource
from callboard.messages.core.ref import Ref

__all__ = ["PIPELINES", "pipelines_source"]

PIPELINES: Final = "pipelines"
ANSWER_S: Final = 2.0
PIPELINES_MAX: Final = 500


def pipelines_source(
    pipelines: Callable[[], Sequence[Ref[Any]]], *, every_s: float = 2.0
) -> PolledSource:
    """The source of `pipelines`; the function gives the actors that offer `QueryPipeline` now."""

    async def read() -> Mapping[str, Any]:
        refs = pipelines()[:PIPELINES_MAX]
        asks = (ref.ask(QueryPipeline(), timeout_s=ANSWER_S) for ref in refs)
        answers = await asyncio.gather(*asks, return_exceptions=True)
        views = [answer for answer in answers if isinstance(answer, PipelineView)]
        return {view.name: view.model_dump(mode="json") for view in views}

    return PolledSource(PIPELINES, read, every_s=every_s)
