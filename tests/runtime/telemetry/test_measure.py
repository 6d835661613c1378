"""Metrics of a journal, a cache, projections and states; each fault has its kind."""

import asyncio
import contextlib
import resource
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import callboard
from callboard import System, start
from callboard.actors.events.consumers.core import ConsumersLimits
from callboard.actors.events.consumers.group import ConsumerGroup
from callboard.actors.events.projection.projector import Projector
from callboard.actors.events.subscription.reader import Follower
from callboard.actors.journal.core import JournalLimits
from callboard.actors.journal.journal import Journal
from callboard.actors.kernel.inspection.metric_sources import Name
from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.errors import (
    CommitUnknown,
    StoreDamaged,
    StoreFault,
    StoreFull,
    StoreLocked,
    StoreReadOnly,
    StoreUnavailable,
    WriterFenced,
    WrongExpectedVersion,
    fault_of,
)
from callboard.messages.storage.events import EventStore, NewEvent
from callboard.runtime.api.inside import host_of, processes_of
from callboard.runtime.cache.tiers import open_cache
from callboard.runtime.stores.memory import MemoryReadModelStore
from callboard.runtime.stores.postgres import PostgresEventStore
from callboard.runtime.stores.sqlite import SqliteEventStore
from callboard.runtime.telemetry.metrics import Publisher
from callboard.runtime.telemetry.names import METRICS
from tests.actors.events.accounts import (
    CODEC,
    Accounts,
    Renamed,
    append,
    open_journal,
    some_events,
    until,
)
from tests.runtime.stores.postgres.drive import SHORT
from tests.servers.postgres_server import PostgresServer
from tests.servers.proxy import Cut, Proxy
from tests.servers.redis_server import RedisServer

WAIT_S = 30.0
AT_ONCE = JournalLimits(patience_s=0.0)
Breaks = Callable[[], contextlib.AbstractContextManager[None]]


class Sink:
    """Keeps the metrics of a host (by default the driver's) like Prometheus."""

    def __init__(self, system: System, host: Any = None) -> None:
        self._publisher = Publisher(host or host_of(system), self, 60.0)
        self._values: dict[Name, float] = {}

    def gauge(self, name: str, value: float, label: str = "") -> None:
        assert bool(METRICS[name].label) == bool(label)
        self._values[Name(name, label)] = value

    def count(self, name: str, increase: float, label: str = "") -> None:
        assert bool(METRICS[name].label) == bool(label)
        assert increase >= 0.0
        self._values[Name(name, label)] = self._values.get(Name(name, label), 0.0) + increase

    async def of(self, what: str) -> dict[str, float]:
        """The metrics of a kind now, without it: `name` or `name{label}`."""
        await self._publisher.publish()
        return {
            metric.removeprefix(f"callboard_{what}_") + (f"{{{label}}}" if label else ""): value
            for (metric, label), value in self._values.items()
            if metric.startswith(f"callboard_{what}_")
        }


@pytest_asyncio.fixture
async def system() -> AsyncIterator[System]:
    async with start(engine="inline", hosts=1) as running:
        yield running


def events(size: int = 10, mark: bytes = b"") -> list[NewEvent]:
    return [NewEvent(uuid.uuid4().bytes, "noted", mark + b"x" * size)]


def impatient(path: Path) -> SqliteEventStore:
    """A file store that does not wait for its lock."""
    store = SqliteEventStore(path, durability="normal")
    store._database._busy_s = 0.02
    return store


@contextlib.contextmanager
def full() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextlib.contextmanager
def away(path: Path) -> Iterator[None]:
    path.rename(path.with_name("away.db"))
    yield
    path.with_name("away.db").rename(path)


@contextlib.contextmanager
def read_only(server: PostgresServer) -> Iterator[None]:
    server.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    server.restart()
    try:
        yield
    finally:
        server.execute("ALTER SYSTEM RESET default_transaction_read_only")
        server.restart()


@contextlib.contextmanager
def stopped(server: PostgresServer) -> Iterator[None]:
    server.stop()
    yield
    server.start()


@contextlib.contextmanager
def cut(proxy: Proxy) -> Iterator[None]:
    proxy.arm(b"marked", Cut.AFTER)
    yield
    assert proxy.cuts == 1


async def is_counted(
    system: System, store: EventStore, breaks: Breaks, error: type[CallboardError], size: int = 10
) -> None:
    """An append fails during the fault, counts as its kind, and the next append works."""
    fault, sink = fault_of(error("")), Sink(system)
    journal = Journal(store, owner="test", limits=AT_ONCE)
    await journal.open()
    end = callboard.telemetry.measure(system, journal)
    try:
        await journal.append("a", events())
        before = await sink.of("journal")
        assert [before[f"faults{{{kind}}}"] for kind in StoreFault] == [0.0] * len(StoreFault)
        lost = events(size, b"marked")
        with breaks(), pytest.raises(error):
            await journal.append("a", lost)
        figures = await sink.of("journal")
        assert {kind for kind in StoreFault if figures[f"faults{{{kind}}}"]} == {fault}
        assert figures[f"faults{{{fault}}}"] == figures["failed"] == 1.0
        assert (figures["appends"], figures["events"], figures["commits"]) == (1.0, 1.0, 1.0)
        await journal.append("a", lost)
        figures = await sink.of("journal")
        assert (figures["appends"], figures["commits"]) == (2.0, 2.0)
        assert figures["bytes"] == 10 + size + len(b"marked")
        assert figures["commit_seconds"] > 0.0
        assert figures["waiting_events"] == 0.0
    finally:
        end()
        await journal.close()


@pytest.mark.parametrize("kind", ["full", "locked", "unreachable"])
async def test_a_fault_of_a_file_is_counted_as_what_it_is(
    kind: str, system: System, tmp_path: Path
) -> None:
    path = tmp_path / "log.db"
    cases: dict[str, tuple[Breaks, type[CallboardError], int]] = {
        "full": (full, StoreFull, 1_000_000),
        "locked": (lambda: locked(path), StoreLocked, 10),
        "unreachable": (lambda: away(path), StoreUnavailable, 10),
    }
    breaks, error, size = cases[kind]
    store = impatient(path)
    await is_counted(system, store, breaks, error, size)


@pytest.mark.parametrize("kind", ["read_only", "unreachable", "commit_unknown"])
async def test_a_fault_of_a_server_is_counted_as_what_it_is(
    kind: str,
    system: System,
    postgres_server: PostgresServer,
    postgres_proxy: Proxy,
    proxied_url: str,
) -> None:
    cases: dict[str, tuple[Breaks, type[CallboardError]]] = {
        "read_only": (lambda: read_only(postgres_server), StoreReadOnly),
        "unreachable": (lambda: stopped(postgres_server), StoreUnavailable),
        "commit_unknown": (lambda: cut(postgres_proxy), CommitUnknown),
    }
    breaks, error = cases[kind]
    await is_counted(system, PostgresEventStore(proxied_url, timeouts=SHORT), breaks, error)


async def test_refusals_retries_and_the_end_of_a_writer_are_counted(
    system: System, tmp_path: Path
) -> None:
    path, sink = tmp_path / "log.db", Sink(system)
    store = impatient(path)
    journal = Journal(store, owner="test", limits=JournalLimits(retry_first_s=0.01))
    await journal.open()
    callboard.telemetry.measure(system, journal)
    with pytest.raises(WrongExpectedVersion):
        await journal.append("a", events(), 5)
    with locked(path):
        waiting = asyncio.ensure_future(journal.append("a", events()))
        await until(lambda: journal.statistics().retries > 0, "a retry")
        assert (await sink.of("journal"))["faults{locked}"] >= 1.0
    await waiting
    other = SqliteEventStore(path)
    other.open()
    other.take_over("another")
    with pytest.raises(WriterFenced):
        await journal.append("a", events())
    figures = await sink.of("journal")
    assert figures["refused"] == 1.0
    assert figures["retries"] == figures["faults{locked}"] >= 1.0
    assert figures["faults{fenced}"] == figures["failed"] == 1.0
    await journal.close()
    other.close()


@pytest.mark.parametrize("error", [StoreDamaged, CallboardError])
def test_every_failure_has_a_kind(error: type[CallboardError]) -> None:
    expected = StoreFault.DAMAGED if error is StoreDamaged else StoreFault.OTHER
    assert fault_of(error("why")) is expected


async def test_the_journal_of_a_system_is_measured(tmp_path: Path) -> None:
    async with start(engine="inline", hosts=1, journal=str(tmp_path / "own.db")) as system:
        assert (await Sink(system).of("journal"))["appends"] == 0.0


async def test_a_log_actor_is_measured_on_its_host_and_no_longer_than_it_lives(
    system: System, tmp_path: Path
) -> None:
    host = processes_of(system)[0].host
    log = await callboard.events.open_log(system, str(tmp_path / "log.db"), name="log")
    sink = Sink(system, host)
    await log.append("a", events())
    figures = await sink.of("journal")
    assert (figures["appends"], figures["waiting_events"]) == (1.0, 0.0)
    await log.close()
    await system.stop(log.ref)
    assert (await sink.of("journal"))["appends"] == 1.0
    assert not host.meters.instruments._sources, "it is let go"


async def test_metrics_of_a_projection_continue_over_its_restart(system: System) -> None:
    models, sink = MemoryReadModelStore(), Sink(system)
    async with open_journal() as journal:
        await append(journal, some_events(3, 40))
        for total in (40.0, 50.0):
            projector = Projector(Accounts(), journal, models)
            end = callboard.telemetry.measure(system, projector)
            figures = await sink.of("projection")
            assert figures["lag_positions{accounts}"] == journal.head
            await projector.start()
            await projector.wait_for(journal.head, WAIT_S)
            figures = await sink.of("projection")
            assert figures["lag_positions{accounts}"] == figures["lag_seconds{accounts}"] == 0.0
            assert figures["events{accounts}"] == total
            await projector.close()
            end()
            await append(journal, some_events(4, 10))
        await append(journal, [Renamed(account="nobody knows this kind")])
        projector = Projector(Accounts(), journal, models)
        callboard.telemetry.measure(system, projector)
        await projector.start()
        await until(lambda: projector.failed is not None, "it stops")
        figures = await sink.of("projection")
        assert figures["stopped{accounts}"] == figures["failures{accounts}"] == 1.0
        assert figures["lag_positions{accounts}"] == 1.0
        await projector.close()


async def test_parked_events_of_a_group_are_measured(system: System) -> None:
    sink = Sink(system)
    async with open_journal() as journal:
        await append(journal, some_events(1, 3))
        limits = ConsumersLimits(attempts_max=1)
        models = MemoryReadModelStore()
        async with ConsumerGroup("mails", Follower(journal), CODEC, models, limits=limits) as group:
            callboard.telemetry.measure(system, group)

            async def refuse(_delivery: Any) -> None:
                raise ValueError("no")

            running = asyncio.ensure_future(group.run(refuse))
            await until(lambda: group.statistics().parked == 3, "all are parked")
            figures = await sink.of("consumers")
            assert figures["parked{mails}"] == figures["parkings{mails}"] == 3.0
            assert figures["nacks{mails}"] == 3.0
            running.cancel()
            await asyncio.wait((running,))


async def test_both_tiers_single_flight_and_a_redis_that_is_down_are_measured(
    system: System, redis_server: RedisServer
) -> None:
    cache, sink = open_cache(redis_server.url), Sink(system)
    callboard.telemetry.measure(system, cache)

    async def load() -> bytes:
        await asyncio.sleep(0)
        return b"loaded"

    await asyncio.gather(*(cache.get_or_load("k", load, 60) for _ in range(3)))
    figures = await sink.of("cache")
    assert (figures["loads"], figures["loads_shared"]) == (1.0, 2.0)
    assert figures["misses{local}"] == 3.0
    assert figures["invalidations{sent}"] == 1.0
    cache.local.clear()
    assert await cache.get_many(["k"]) == [b"loaded"]
    assert (await sink.of("cache"))["hits{redis}"] == 1.0
    redis_server.kill()
    await cache.set_many({"k": b"later"}, 60)
    figures = await sink.of("cache")
    assert (figures["redis_down"], figures["redis_lost"], figures["redis_back"]) == (1.0, 1.0, 0.0)
    assert figures["redis_owed"] >= 1.0
    redis_server.start()
    await until(lambda: bool(cache.redis and cache.redis.is_reachable), "it is back")
    figures = await sink.of("cache")
    assert (figures["redis_down"], figures["redis_lost"], figures["redis_back"]) == (0.0, 1.0, 1.0)
    await cache.close()


async def test_states_and_their_cache_are_measured_while_they_are_open(system: System) -> None:
    sink = Sink(system)
    sources = dict(host_of(system).meters.instruments._sources)
    async with callboard.states.open_states("memory:", system=system) as states:
        await states.synchronise(["nobody"])
        assert (await sink.of("states"))["read{primary}"] == 0.0
        assert (await sink.of("cache"))["misses{local}"] == 1.0
    assert host_of(system).meters.instruments._sources == sources
