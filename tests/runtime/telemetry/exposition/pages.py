"""What an endpoint shows, read as Prometheus reads it."""

import asyncio
import contextlib
from collections.abc import Callable

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from callboard.runtime.telemetry.exposition.place import Place
from callboard.runtime.telemetry.intake.fetch import FetchFailed, fetch

ACCEPT = {"Accept": "application/openmetrics-text; version=1.0.0"}
Shown = dict[tuple[str, str], float]
"""The values by the names of samples and hosts."""


def open_metrics(body: bytes) -> list[Metric]:
    """The metrics of a page in OpenMetrics. Raises `ValueError`."""
    return list(text_string_to_metric_families(body.decode()))  # type: ignore[no-untyped-call]


async def metrics(place: Place) -> list[Metric]:
    """What the endpoint shows; nothing while there is none."""
    target = place.target()
    if target is not None:
        url = f"http://{target[0]}:{target[1]}/metrics"
        with contextlib.suppress(FetchFailed):
            found = await fetch(url, ACCEPT, bytes_max=10_000_000, timeout_s=5.0)
            return open_metrics(found.body)
    return []


async def page(place: Place) -> Shown:
    """The values that it shows; those of several series with one name and host are added up."""
    shown: Shown = {}
    for metric in await metrics(place):
        for sample in metric.samples:
            key = (sample.name, sample.labels.get("host", ""))
            shown[key] = shown.get(key, 0.0) + sample.value
    return shown


async def until(place: Place, enough: Callable[[Shown], bool]) -> Shown:
    """Read the endpoint until what it shows is enough."""
    async with asyncio.timeout(60.0):
        while True:
            shown = await page(place)
            if shown and enough(shown):
                return shown
            await asyncio.sleep(0.02)


async def until_so(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(60.0):
        while not condition():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.02)
