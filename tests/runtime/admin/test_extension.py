"""The admin API inside a system: from any process to the control host, with a principal."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

import callboard as cb
from callboard.messages.control.principals import LOCAL, Principal, Scope
from callboard.messages.control.views import QuerySystem
from callboard.messages.core.errors import CallboardError
from callboard.messages.core.ref import Address, Ref
from callboard.runtime.admin.errors import AccessDenied, NotServed
from callboard.runtime.admin.extension import ADMIN, client_of
from callboard.runtime.admin.metrics import metrics_of_system
from callboard.runtime.admin.prometheus import QueryPrometheus
from callboard.runtime.admin.views import QueryExecutions
from callboard.runtime.api.inside import host_of
from callboard.runtime.api.system import System
from callboard.runtime.web.routes.api import admin_of

READER = Principal(subject="ada", way="http", scopes=(Scope.READ,))
NOBODY = Principal(subject="eve", way="http")


@pytest_asyncio.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    journal = str(tmp_path / "j.db")
    async with cb.start(engine="inline", hosts=1, journal=journal, metrics="memory:") as system:
        yield system


async def test_every_process_reaches_the_control_host_by_one_address(system: System) -> None:
    async def find() -> Ref[object]:
        return host_of(system).ref(ADMIN)

    admin = admin_of(find)
    assert (await admin.ask(QuerySystem(), READER)).hosts
    assert (await admin.ask(QueryExecutions(), READER)).items == ()
    with pytest.raises(AccessDenied):
        await admin.ask(QuerySystem(), NOBODY)
    assert b"access_denied" in await admin.line(
        b'{"admin": 1, "request": "callboard.query_system", "version": 1}', NOBODY
    )
    assert b"error" in await admin.line(b"no line", READER)


async def test_a_host_without_a_service_says_so(system: System) -> None:
    async def find() -> Ref[object]:
        return host_of(system).ref(Address(1, 0))

    with pytest.raises(NotServed):
        await client_of(find, LOCAL).ask(QuerySystem())


async def test_metrics_are_answered_in_the_process_that_asks(system: System) -> None:
    async def unreachable() -> Ref[object]:
        raise AssertionError("the control host is not asked")

    metrics = metrics_of_system(system.lookup, system.ask, shards=4)
    admin = admin_of(unreachable, metrics)
    question = QueryPrometheus(path="query", parameters={"query": ("1 + 1",)})
    answer = await admin.ask(question, READER)
    assert (answer.status, '"2"' in answer.body) == (200, True)
    with pytest.raises(CallboardError):
        await admin.ask(question, NOBODY)


async def test_without_metrics_their_questions_are_not_served() -> None:
    async with cb.start(engine="inline", hosts=1) as system:
        answer = metrics_of_system(system.lookup, system.ask, shards=4)
        with pytest.raises(NotServed):
            await answer(QueryPrometheus(path="labels"))
