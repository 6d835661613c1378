"""A shadow build of a read model: under load, across a crash, and its promotion."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.actors.events.errors import ProjectionChanged
from callboard.actors.events.projection.figures import ProjectorLimits
from callboard.actors.events.projection.projector import Projector
from callboard.actors.events.projection.queries import Queries
from callboard.messages.core.errors import DeadlineExceeded, UsageError
from callboard.messages.storage.stores import ReadModelStore
from callboard.runtime.stores.choose import read_model_store

from .accounts import (
    DEADLINE_S,
    Accounts,
    AccountsInCents,
    append,
    balances,
    checked,
    folded,
    open_journal,
    some_events,
    until,
)

SMALL = ProjectorLimits(page_events=20, idle_s=0.05, model_check_s=0.05)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def models(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReadModelStore]:
    url = {"memory": "memory:", "sqlite": str(tmp_path / "models.db")}.get(request.param)
    store = read_model_store(url or request.getfixturevalue("postgres_url"), durability="off")
    store.open()
    yield store
    store.close()


async def test_a_shadow_build_under_load_is_never_seen_in_part(models: ReadModelStore) -> None:
    events = some_events(1, 1_500)
    at_first = 500
    async with open_journal() as journal:
        await append(journal, events[:at_first])
        queries = Queries(Accounts, models)
        live = Projector(Accounts(), journal, models, limits=SMALL, queries=[queries])
        await live.start()
        await live.wait_for(at_first, DEADLINE_S)
        # Every state that a reader may see: the fold of some prefix, of one version.
        whole = {
            frozenset(folded(events[:count], factor).items()): factor
            for factor in (1, 100)
            for count in range(at_first, len(events) + 1)
        }
        seen: list[int | None] = []
        done = asyncio.Event()

        async def read() -> None:
            while not done.is_set():
                seen.append(whole.get(frozenset(await queries.items())))

        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            writing = group.create_task(append(journal, events[at_first:], size=10))
            new = Projector(
                AccountsInCents(), journal, models, shadow=True, limits=SMALL, queries=[queries]
            )
            await new.start()
            assert new.model == "accounts@2"
            before = await new.promote(DEADLINE_S, instead_of=live)
            assert before == "accounts"
            assert checked(models, "accounts", events) <= new.position
            await writing
            await new.wait_for(len(events), DEADLINE_S)
            await until(lambda: seen[-1:] == [100], "a read of the new model")
            done.set()
        assert None not in seen, "a reader saw what is no fold of a prefix"
        assert seen == sorted(seen, key=lambda factor: factor or 0)
        assert {1, 100} <= set(seen)
        assert balances(models, "accounts@2") == folded(events, factor=100)
        rows = dict(await queries.items())
        assert rows == folded(events, factor=100)
        await new.drop("accounts")
        assert models.position("accounts") == 0
        with pytest.raises(UsageError, match="is the live model"):
            await new.drop("accounts@2")
        await new.close()
        await queries.close()


async def test_a_reader_without_the_projector_sees_the_switch(models: ReadModelStore) -> None:
    events = some_events(2, 200)
    async with open_journal() as journal:
        await append(journal, events)
        async with Projector(Accounts(), journal, models) as live:
            await live.wait_for(200, DEADLINE_S)
        queries = Queries(Accounts, models, meaning_s=0.01)
        assert dict(await queries.items()) == folded(events)
        async with Projector(AccountsInCents(), journal, models, shadow=True) as new:
            await new.wait_for(200, DEADLINE_S)
            assert dict(await queries.items()) == folded(events), "seen before the promotion"
            await new.promote(DEADLINE_S)
        assert dict(await queries.items()) == folded(events, factor=100)
        some = list(folded(events))[:5]
        assert await queries.get_many(some) == [folded(events, 100)[key] for key in some]
        await queries.close()


async def test_a_rebuild_goes_on_where_it_was_left(models: ReadModelStore) -> None:
    events = some_events(3, 200)
    async with open_journal() as journal:
        await append(journal, events[:100])
        async with Projector(AccountsInCents(), journal, models, shadow=True) as first:
            await first.wait_for(100, DEADLINE_S)
        await append(journal, events[100:])
        async with Projector(AccountsInCents(), journal, models, shadow=True) as second:
            assert second.model == "accounts@2"
            await second.promote(DEADLINE_S)
            assert second.statistics().events == 100
        # The next one has the next number, and what readers see is left alone.
        async with Projector(Accounts(), journal, models, shadow=True) as third:
            assert third.model == "accounts@3"
            await third.wait_for(200, DEADLINE_S)
        assert models.meaning("accounts") == "accounts@2"
    assert balances(models, "accounts@2") == folded(events, factor=100)
    assert checked(models, "accounts@3", events) == 200


async def test_what_another_version_had_begun_is_thrown_away(models: ReadModelStore) -> None:
    events = some_events(4, 100)
    async with open_journal() as journal:
        await append(journal, events)
        async with Projector(Accounts(), journal, models, shadow=True) as first:
            await first.wait_for(100, DEADLINE_S)
        async with Projector(AccountsInCents(), journal, models, shadow=True) as second:
            await second.wait_for(100, DEADLINE_S)
            assert second.statistics().events == 100
    assert balances(models, "accounts@2") == folded(events, factor=100)


async def test_an_old_projector_elsewhere_stops_after_the_switch(models: ReadModelStore) -> None:
    events = some_events(5, 100)
    async with open_journal() as journal:
        await append(journal, events)
        async with Projector(Accounts(), journal, models, limits=SMALL) as old:
            await old.wait_for(100, DEADLINE_S)
            async with Projector(AccountsInCents(), journal, models, shadow=True) as new:
                await new.promote(DEADLINE_S)
            await until(lambda: old.failed is not None, "the old one looks at the name")
            assert isinstance(old.failed, ProjectionChanged)


async def test_one_of_the_same_version_follows_the_switch(models: ReadModelStore) -> None:
    events = some_events(6, 100)
    async with open_journal() as journal:
        await append(journal, events)
        async with Projector(Accounts(), journal, models, limits=SMALL) as old:
            await old.wait_for(100, DEADLINE_S)
            async with Projector(Accounts(), journal, models, shadow=True) as new:
                await new.promote(DEADLINE_S)
                await new.drop("accounts")
            await until(lambda: old.model == "accounts@2", "the old one looks at the name")
            more = some_events(7, 20)
            await append(journal, more)
            await old.wait_for(120, DEADLINE_S)
    assert checked(models, "accounts@2", [*events, *more]) == 120
    assert models.position("accounts") == 0


async def test_a_switch_that_does_not_catch_up_changes_nothing(models: ReadModelStore) -> None:
    async with open_journal() as journal:
        await append(journal, some_events(8, 50))
        async with Projector(Accounts(), journal, models) as live:
            await live.wait_for(50, DEADLINE_S)
            with pytest.raises(UsageError, match="is the live model"):
                await live.promote(DEADLINE_S)
            new = Projector(AccountsInCents(), journal, models, shadow=True)
            await new.start()
            with pytest.raises(DeadlineExceeded):
                await new.promote(1e-9, instead_of=live)
            await new.close()
            await append(journal, some_events(9, 10))
            await live.wait_for(60, DEADLINE_S)
        assert models.meaning("accounts") == "accounts"
