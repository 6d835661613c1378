"""A scraper and its HTTP client, against real servers on this machine: good, slow, broken ones."""

import asyncio
import contextlib
import gzip
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from callboard.actors.metrics.points import SourceKind
from callboard.actors.metrics.recording.columns import PointColumns
from callboard.actors.metrics.recording.sources import PointSource
from callboard.messages.core.errors import UsageError
from callboard.runtime.telemetry.intake.fetch import FetchFailed, check_url, fetch
from callboard.runtime.telemetry.intake.received import IntakeLimits
from callboard.runtime.telemetry.intake.scraper import Scraper, ScrapeTarget, targets_in

PAGE = b"# TYPE n_total counter\nn_total 3\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def served(serve: Serve) -> AsyncIterator[str]:
    """A server on a port of its own; gives the URL of its page."""
    serving: set[asyncio.Future[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await serve(reader, writer)

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(answer(reader, writer))
        serving.add(task)
        await asyncio.wait({task})
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics"
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await asyncio.sleep(0)


def gives(answer: bytes) -> Serve:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return serve


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A byte now and then, for ever."""
    writer.write(OK + b"\r\n")
    while not writer.is_closing():
        writer.write(b"#")
        await writer.drain()
        await asyncio.sleep(0.01)


async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60.0)


async def fetched(url: str) -> bytes:
    return (await fetch(url, {}, bytes_max=100_000, timeout_s=0.5)).body


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"\r\n" + PAGE,
        OK + b"Content-Length: %d\r\n\r\n" % len(PAGE) + PAGE,
        OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(PAGE),
    ],
)
async def test_a_page_is_read(answer: bytes) -> None:
    async with served(gives(answer)) as url:
        assert await fetched(url) == PAGE


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 500 Oh\r\n\r\n" + PAGE,
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
        OK + b"Content-Length: 1000\r\n\r\n" + PAGE,
        OK + b"Content-Length: many\r\n\r\n" + PAGE,
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        OK + b"Content-Encoding: gzip\r\n\r\n" + PAGE,
        OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(PAGE)[:-9],
        OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"x" * 50_000_000),
        OK + b"\r\n" + b"x" * 200_000,
        OK + b"A: " + b"x" * 200_000,
    ],
    ids=range(13),
)
async def test_an_answer_that_is_no_page_fails(answer: bytes) -> None:
    async with served(gives(answer)) as url:
        with pytest.raises(FetchFailed):
            await fetched(url)


async def test_a_target_cannot_take_longer_than_its_deadline() -> None:
    for serve in (drip, say_nothing):
        async with served(serve) as url:
            began_s = time.monotonic()
            with pytest.raises(FetchFailed, match=r"0\.5 s"):
                await fetched(url)
            assert time.monotonic() - began_s < 10.0
    with pytest.raises(FetchFailed):
        await fetched("http://127.0.0.1:1/metrics")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "metrics",
        "ftp://a/b",
        "http:///metrics",
        "http://a:b/",
        "http://u:p@a/",
        "http://a/\r\nX: y",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(UsageError):
        check_url(url)


# --- the scraper ------------------------------------------------------------------------------


async def first(scraper: Scraper, count: int) -> list[PointColumns]:
    found: list[PointColumns] = []
    async with asyncio.timeout(20.0), contextlib.aclosing(scraper.columns()) as columns:  # type: ignore[type-var]
        async for each in columns:
            found.append(each)
            if len(found) == count:
                break
    return found


def values(columns: PointColumns) -> dict[str, float]:
    return {
        columns.series[place].name: value
        for place, value in zip(columns.index, columns.values, strict=True)
    }


async def test_targets_are_read_again_and_again() -> None:
    counts = iter(range(3, 100, 4))

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"\r\n# TYPE n_total counter\nn_total %d\ndepth 2\n" % next(counts))

    async with served(serve) as url:
        target = ScrapeTarget(url, "mine", (("zone", "a"),))
        scraper: PointSource = Scraper([target], every_s=0.05)
        assert scraper.kind is SourceKind.SCRAPED
        assert isinstance(scraper, Scraper)
        begin, *more = await first(scraper, 3)
    assert "n_total" not in values(begin)
    for columns in more:
        assert values(columns)["n_total"] == 4.0
        assert values(columns)["up"] == 1.0
        assert values(columns)["depth"] == 2.0
        assert values(columns)["scrape_samples_scraped"] == 2.0
        assert 0.0 <= values(columns)["scrape_duration_seconds"] < 10.0
        for key in columns.series:
            assert (key.tag("job"), key.tag("zone")) == ("mine", "a")
            assert key.tag("instance") in url


async def test_a_target_that_fails_is_down_and_harms_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        served(gives(OK + b"\r\n" + PAGE)) as good,
        served(drip) as slow,
        served(gives(OK + b"\r\n<html>\n")) as wrong,
    ):
        targets = [ScrapeTarget(url) for url in (good, slow, wrong, "http://127.0.0.1:1/m")]
        scraper = Scraper(targets, every_s=0.05, limits=IntakeLimits(timeout_s=0.3))
        ups: dict[str, set[float]] = {}
        async with asyncio.timeout(20.0), contextlib.aclosing(scraper.columns()) as pages:  # type: ignore[type-var]
            async for columns in pages:
                of = columns.series[-1].tag("instance")
                ups.setdefault(of, set()).add(values(columns)["up"])
                if len(ups) == len(targets):
                    break
    assert {url: ups[url.split("/")[2]] for url in (good, slow, wrong)} == {
        good: {1.0},
        slow: {0.0},
        wrong: {0.0},
    }
    assert ups["127.0.0.1:1"] == {0.0}
    downs = [record for record in caplog.records if "is down" in record.message]
    assert len(downs) == 3, "each is logged once"
    counts = {name.label: count for name, count in scraper.reading().counts.items()}
    assert counts["failed"] >= 3.0
    assert counts["succeeded"] >= 1.0


async def test_targets_come_and_go_with_their_file(tmp_path: Path) -> None:
    path = tmp_path / "targets.json"
    async with served(gives(OK + b"\r\na 1\n")) as one, served(gives(OK + b"\r\nb 1\n")) as two:

        def write(*urls: str) -> None:
            addresses = [url.split("/")[2] for url in urls]
            path.write_text(json.dumps([{"labels": {"job": "ray"}, "targets": addresses}]))

        write(one)
        scraper = Scraper(lambda: targets_in(path, "ray"), every_s=0.05)
        async with asyncio.timeout(20.0):
            async for columns in scraper.columns():
                if "a" in values(columns):
                    write(two)
                if "b" in values(columns):
                    break


@pytest.mark.parametrize(
    "text",
    [
        "", "{}x", "[1]", '[{"targets": 5}]', '[{"targets": ["a b"]}]', '{"targets": []}',
        '[{"labels": [], "targets": ["a:1"]}]', '[{"targets": ["a:1"], "labels": {"a b": "c"}}]',
        "[" * 100_000,
    ],
)  # fmt: skip
def test_a_file_without_targets_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "targets.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"targets|address|tag"):
        targets_in(path, "ray")
    with pytest.raises(UsageError):
        targets_in(tmp_path / "missing", "ray")
