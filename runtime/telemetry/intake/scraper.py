"""A scraper: a source of points that reads the metrics pages of other processes.

Each target is read at its own time of the interval, so that many targets are no burst. A target
that fails is read again after a pause that doubles up to `PAUSE_S_MAX`. What a scrape brings has
the tags `job` and `instance`, as in Prometheus, and each scrape the gauges `up` (1, or 0 when it
failed), `scrape_duration_seconds` and `scrape_samples_scraped`.

Do not scrape the endpoints of your own system into its own windows: they would have those figures
twice.
"""

import asyncio
import hashlib
import json
import logging
import pathlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from callboard.actors.kernel.inspection.metric_sources import Name, Reading
from callboard.actors.metrics.points import SourceKind
from callboard.actors.metrics.recording.columns import PointColumns
from callboard.actors.metrics.recording.resets import CounterResets
from callboard.actors.metrics.series import MetricKind, series_key
from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import CallboardError, UsageError

from .fetch import check_url, fetch
from .received import IntakeLimits, LeftOut, Received
from .text import parse_text

__all__ = ["ScrapeTarget", "Scraper", "targets_in"]

LOGGER: Final = logging.getLogger("callboard.metrics")
ACCEPT: Final = (
    "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
SCRAPES_MAX: Final = 4
"""Scrapes at once."""
TARGETS_MAX: Final = 1_000
FILE_BYTES_MAX: Final = 4 * 1024 * 1024
QUEUE_MAX: Final = 8
"""Pages that wait until the collector takes them; then the scraper waits."""
PAUSE_S_MAX: Final = 120.0
"""The longest pause before a target that fails is read again."""


@dataclass(frozen=True, slots=True)
class ScrapeTarget:
    """One page of metrics. Raises `UsageError` for a wrong address or label."""

    url: str
    """Where the page is: `http://HOST:PORT/PATH`."""
    job: str = "scraped"
    """The tag `job` of all of its points."""
    labels: tuple[tuple[str, str], ...] = ()
    """More tags for all of its points."""

    def __post_init__(self) -> None:
        check_url(self.url)
        series_key(MetricKind.GAUGE, "up", self.tags)

    @property
    def tags(self) -> dict[str, str]:
        """The tags of all of its points."""
        return {**dict(self.labels), "job": self.job, "instance": urlsplit(self.url).netloc}


def targets_in(path: pathlib.Path, job: str) -> tuple[ScrapeTarget, ...]:
    """The targets in a file of Prometheus' file-based service discovery, in JSON.

    Ray writes such a file: `prom_metrics_service_discovery.json` in its folder for temporary
    files. Raises `UsageError` for a file that is missing or wrong.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX)  # A longer file is no JSON any more.
        found = [
            ScrapeTarget(_url(address, group.get("labels", {})), job, _labels(group))
            for group in json.loads(data)
            for address in group["targets"]
        ]
    except UsageError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{path} names no targets: {error!r}.",
            advice="Give a file for Prometheus' file_sd_configs, in JSON.",
        ) from error
    return tuple(found[:TARGETS_MAX])


def _url(address: str, labels: Mapping[str, str]) -> str:
    scheme, path = labels.get("__scheme__", "http"), labels.get("__metrics_path__", "/metrics")
    return f"{scheme}://{address}{path}"


def _labels(group: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    labels = group.get("labels", {}).items()
    return tuple((name, value) for name, value in labels if not name.startswith("__"))


class _Scrape(NamedTuple):
    """What one scrape has brought; `received` is None when it failed."""

    target: ScrapeTarget
    received: Received | None
    began_ns: int
    took_s: float


class Scraper:
    """A `PointSource` of the pages of some targets.

    `discover` gives the targets; it is asked again at each interval, in a thread, and may raise
    `UsageError`: then those of the last time stay.
    """

    kind: Final = SourceKind.SCRAPED

    def __init__(
        self,
        discover: Iterable[ScrapeTarget] | Callable[[], Iterable[ScrapeTarget]],
        *,
        every_s: float = 15.0,
        name: str = "scraper",
        limits: IntakeLimits | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        if not every_s > 0.0:
            raise UsageError(f"scraper {name!r}: every_s is {every_s!r}.", advice="Use over 0.")
        self.name: Final = name
        if callable(discover):
            self._discover = discover
        else:
            fixed = tuple(discover)
            self._discover = lambda: fixed
        self._every_s: Final = every_s
        self._backoff: Final = Backoff(min_s=every_s, max_s=max(PAUSE_S_MAX, every_s))
        self._limits: Final = limits or IntakeLimits(timeout_s=min(10.0, every_s))
        self._now_ns: Final = now_ns
        self._resets: Final = CounterResets()
        self._scrapes: Counter[str] = Counter()
        self._left_out: Counter[LeftOut] = Counter()
        self._failing: dict[ScrapeTarget, int] = {}
        """The failures in a row."""

    def reading(self) -> Reading:
        """Its counts, as a metric source."""
        counts = {Name("callboard_scrapes", of): float(n) for of, n in self._scrapes.items()}
        left = {
            Name("callboard_scrape_samples_left_out", reason.value): float(n)
            for reason, n in self._left_out.items()
        }
        return Reading({**counts, **left}, {})

    async def columns(self) -> AsyncIterator[PointColumns]:
        """The points of one page after another."""
        queue: asyncio.Queue[_Scrape] = asyncio.Queue(QUEUE_MAX)
        running = asyncio.ensure_future(self._run(queue))
        try:
            while True:
                taking = asyncio.ensure_future(queue.get())
                await asyncio.wait({taking, running}, return_when=asyncio.FIRST_COMPLETED)
                if not taking.done():
                    taking.cancel()
                    running.result()  # It ends by an error only.
                    return
                yield self._columns_of(taking.result())
        finally:
            running.cancel()

    async def _run(self, queue: "asyncio.Queue[_Scrape]") -> None:
        targets: dict[ScrapeTarget, asyncio.Task[None]] = {}
        slots = asyncio.Semaphore(SCRAPES_MAX)
        async with asyncio.TaskGroup() as group:
            while True:
                wanted = await self._targets(tuple(targets))
                for gone in targets.keys() - wanted.keys():
                    targets.pop(gone).cancel()
                    self._failing.pop(gone, None)
                    self._resets.forget(gone.url)
                for target in wanted.keys() - targets.keys():
                    targets[target] = group.create_task(self._watch(target, queue, slots))
                self._resets.forget_stale(self._now_ns())
                await asyncio.sleep(max(self._every_s, 1.0) if targets else self._every_s)

    async def _targets(self, before: tuple[ScrapeTarget, ...]) -> "dict[ScrapeTarget, None]":
        try:
            found = await asyncio.to_thread(lambda: tuple(self._discover()))
        except CallboardError as error:
            LOGGER.warning("scraper %s keeps its targets: %s", self.name, error)
            found = before
        return dict.fromkeys(found[:TARGETS_MAX])

    async def _watch(
        self, target: ScrapeTarget, queue: "asyncio.Queue[_Scrape]", slots: asyncio.Semaphore
    ) -> None:
        await asyncio.sleep(_share(target) * self._every_s)
        while True:
            async with slots:
                scrape = await self._scrape(target)
            await queue.put(scrape)
            failures = 0 if scrape.received else self._failing.get(target, 0) + 1
            if failures == 1:
                LOGGER.warning("scraper %s: %s is down", self.name, target.url)
            self._failing[target] = failures
            pause_s = self._every_s if not failures else self._backoff.delay_s(failures)
            await asyncio.sleep(max(0.0, pause_s - scrape.took_s))

    async def _scrape(self, target: ScrapeTarget) -> _Scrape:
        loop = asyncio.get_running_loop()
        began_ns, began_s = self._now_ns(), loop.time()
        ends_s = time.monotonic() + self._limits.timeout_s
        received: Received | None = None
        try:
            page = await fetch(
                target.url,
                {"Accept": ACCEPT, "User-Agent": "callboard"},
                bytes_max=self._limits.bytes_max,
                timeout_s=self._limits.timeout_s,
            )
            received = await asyncio.to_thread(
                parse_text,
                page.body,
                page.content_type,
                began_ns,
                labels=target.tags,
                limits=self._limits,
                is_late=lambda: time.monotonic() > ends_s,
            )
        except CallboardError as error:
            LOGGER.debug("scraper %s: %s", self.name, error)
        self._scrapes["failed" if received is None else "succeeded"] += 1
        return _Scrape(target, received, began_ns, loop.time() - began_s)

    def _columns_of(self, scrape: _Scrape) -> PointColumns:
        target, tags = scrape.target, scrape.target.tags
        received = scrape.received or Received(self._limits)
        brought = len(received.samples)
        # These three come in any case, also after too many samples.
        about = Received(IntakeLimits())
        gauges = {
            "up": float(scrape.received is not None),
            "scrape_duration_seconds": scrape.took_s,
            "scrape_samples_scraped": float(brought),
        }
        for name, value in gauges.items():
            about.add(MetricKind.GAUGE, name, tags, scrape.began_ns, value)
        received.samples.extend(about.samples)
        columns = received.columns(target.url, self._resets)
        self._left_out.update(received.left_out)
        return columns


def _share(target: ScrapeTarget) -> float:
    """The part of the interval after which a target is read: spread, and always the same."""
    digest = hashlib.blake2b(target.url.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 2**32
