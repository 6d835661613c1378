"""Answers about metrics: in any process that reads the windows of a system."""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from callboard.actors.metrics.aggregation.reader import AggregatorsReader, SystemReader
from callboard.actors.metrics.aggregation.storage import RemoteStorage
from callboard.actors.metrics.ports import WindowReader
from callboard.actors.metrics.query.prometheus_api import PrometheusApi
from callboard.actors.metrics.query.promql.evaluator import ExpressionEvaluator
from callboard.actors.metrics.query.question import (
    ListMetrics,
    QueryMetrics,
    answer_question,
    list_metrics,
)
from callboard.actors.metrics.query.window_samples import WindowSamples
from callboard.messages.core.contract import Request
from callboard.messages.core.errors import ActorNotFound
from callboard.messages.core.ref import Ref

from .errors import NotServed
from .prometheus import PrometheusAnswered, QueryPrometheus

__all__ = ["METRICS_STORE", "answer_metrics", "metrics_of_system"]

METRICS_STORE: Final = "metrics-store"
"""The name of the actor that keeps the windows of a system in a file or in memory."""


async def answer_metrics(reader: WindowReader, request: Request[Any]) -> Any:
    """Answer a request from these windows. Raises `UsageError`, and the stores' errors."""
    if isinstance(request, ListMetrics):
        return await list_metrics(reader, request)
    if isinstance(request, QueryPrometheus):
        api = PrometheusApi(ExpressionEvaluator(WindowSamples(reader)), reader)
        found = await api.answer(request.path, request.parameters, time.time_ns())
        return PrometheusAnswered(status=found.status, body=json.dumps(found.body))
    assert isinstance(request, QueryMetrics), "the admin API has no other request of metrics"
    return await answer_question(reader, request)


def metrics_of_system(
    lookup: Callable[[str], Awaitable[Ref[Any]]],
    ask: Callable[[Request[Any]], Awaitable[Any]],
    shards: int,
) -> Callable[[Request[Any]], Awaitable[Any]]:
    """Answers from a process of the system: from the aggregators, and the store that is an actor.

    `lookup` finds actors by name, `ask` asks the actor that offers a request. The answers raise
    `NotServed` while the system keeps no metrics.
    """

    async def answer(request: Request[Any]) -> Any:
        try:
            store = await lookup(METRICS_STORE)
        except ActorNotFound:
            raise NotServed(
                "this system keeps no metrics.", advice="Start it with metrics='auto'."
            ) from None
        reader = SystemReader(AggregatorsReader(ask, shards), RemoteStorage(store))
        return await answer_metrics(reader, request)

    return answer
