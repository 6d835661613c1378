"""Logs of a running system: whose line it is, and what the process of a user keeps."""

import asyncio
import logging
import time
from typing import Any

from callboard import Agent, Contract, Job, Request, SubTask, handler
from callboard.messages.control.logs import LogRow, QueryLogs
from callboard.runtime.api.inside import host_of
from callboard.runtime.api.start import start
from callboard.runtime.api.system import System
from callboard.runtime.telemetry.logs.extension import HostLogs

LOGGER = logging.getLogger("tests.host_logs")


class Said(Contract, name="logs.said"):
    pass


class Say(Request[Said], name="logs.say"):
    text: str


class SaySlowly(Request[Said], name="logs.say_slowly"):
    text: str


class Unprintable:
    def __str__(self) -> str:
        raise ValueError("no text")


class Speaker(Agent):
    @handler
    async def say(self, request: Say) -> Said:
        try:
            int("the cause")
        except ValueError:
            LOGGER.exception("async %s", request.text)
        return Said()

    @handler
    def say_slowly(self, request: SaySlowly) -> Said:
        time.sleep(0.0)
        LOGGER.warning("thread %s", request.text)
        return Said()


async def rows_of(system: System, count: int, **fields: Any) -> tuple[LogRow, ...]:
    """The lines, once there are so many."""
    while True:
        page = await system.logs(**fields)
        if len(page.rows) >= count:
            return page.rows
        await asyncio.sleep(0.01)


async def test_a_line_has_its_actor_and_its_sub_task() -> None:
    async with asyncio.timeout(30), start(engine="inline", hosts=2) as system:
        await system.pool(Speaker, size=2)
        parts = (
            SubTask("one/a", Say(text="here")),
            SubTask("two", SaySlowly(text="there")),
        )
        job: Job[Say, list[Said]] = Job(decompose=lambda _: parts)
        await system.submit(job, Say(text=""), execution_id="talk").result()
        rows = await rows_of(system, 2, where="talk")
        found = {each.step: each for each in rows}
        assert found.keys() == {"one/a", "two"}
        for each in rows:
            assert each.execution == "talk"
            assert each.path.startswith("/")
            assert each.host.startswith("host-")
            assert each.logger == "tests.host_logs"
        first = found["one/a"].text.splitlines()
        assert (first[0], first[-1]) == (
            "async here",
            "ValueError: invalid literal for int() with base 10: 'the cause'",
        )
        assert (found["one/a"].level, found["two"].level) == ("error", "warning")
        assert found["two"].text == "thread there"
        LOGGER.error("of the driver")
        rows = await rows_of(system, 1, level="error", where=host_of(system).name)
        assert rows[-1].text == "of the driver"
        assert rows[-1].path == ""


async def test_what_is_off_costs_no_record_and_what_has_no_text_harms_nobody() -> None:
    root_handlers = list(logging.getLogger().handlers)
    factory = logging.getLogRecordFactory()
    async with asyncio.timeout(30), start(engine="inline", hosts=1) as system:
        assert logging.getLogger().handlers == root_handlers
        assert logging.getLogRecordFactory() != factory
        logger = logging.getLogger("tests.unprintable")
        logger.propagate = False  # The handlers of pytest would format the record, and raise.
        logger.addHandler(logging.NullHandler())
        logger.setLevel(logging.WARNING)
        logger.info("not wanted")
        logger.warning("%s", Unprintable())
        logger.warning("x" * 10_000)
        logger.warning("a lone \ud800 surrogate")
        rows = await rows_of(system, 2)
        assert [len(each.text) < 5_000 for each in rows] == [True, True]
        assert rows[1].text == "a lone ? surrogate"
    assert logging.getLogRecordFactory() == factory


async def test_a_flood_is_bounded_and_counted() -> None:
    async with asyncio.timeout(30), start(engine="inline", hosts=1) as system:
        for number in range(5_000):
            LOGGER.warning("line %d", number)
        rows = await rows_of(system, 1, limit=2_000)
        assert rows[-1].text == "line 4999"
        logs = host_of(system).extension(HostLogs).system
        page = logs.page(QueryLogs(limit=2_000))
        assert len(page.rows) <= 1_000
        assert len(page.rows) + page.dropped >= 5_000
