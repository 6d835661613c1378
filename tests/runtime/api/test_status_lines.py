"""Status lines: at least one every few seconds, whatever the work and its loop do."""

import io
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Callable

import pytest

from callboard import Agent, Contract, Job, Request, SubTask, handler, start
from callboard.messages.jobs.execution import ExecutionStatus
from callboard.reducers import Collect
from callboard.updates import ExecutionUpdate, Finished, Progressed, StatusLines

WITHIN_S = 10.0
LINE = re.compile(r" *\d+\.\d s  \S")


class Waited(io.StringIO):
    """A stream that says when a line has come."""

    def __init__(self) -> None:
        super().__init__()
        self.came = threading.Condition()

    def write(self, text: str, /) -> int:
        with self.came:
            written = super().write(text)
            self.came.notify_all()
        return written

    def until(self, holds: Callable[[list[str]], bool]) -> list[str]:
        with self.came:
            assert self.came.wait_for(lambda: holds(self.getvalue().splitlines()), WITHIN_S)
            return self.getvalue().splitlines()


def test_lines_keep_coming_while_the_thread_of_the_work_is_busy() -> None:
    out = Waited()
    with StatusLines(out, every_s=0.01) as lines:
        lines.show("starting Ray")
        shown = out.until(lambda lines: len(lines) >= 4)  # Nothing else shows anything.
    assert all(LINE.match(line) and line.endswith("starting Ray") for line in shown)


def test_a_status_waits_for_its_turn_unless_it_is_news() -> None:
    out = Waited()
    with StatusLines(out, every_s=3_600.0) as lines:
        lines.show("one")
        out.until(lambda lines: len(lines) == 1)
        lines.show("two")
        lines.show("three", now=True)
        shown = out.until(lambda lines: len(lines) == 2)
    assert [line.split()[-1] for line in shown] == ["one", "three"]
    assert len(out.getvalue().splitlines()) == 2


def test_short_work_writes_nothing() -> None:
    out = io.StringIO()
    with StatusLines(out, first_after_s=3_600.0) as lines:
        lines.show("starting")
    with StatusLines(out):
        pass
    assert out.getvalue() == ""


def test_a_reader_that_is_gone_ends_the_lines_only() -> None:
    out = io.StringIO()
    out.close()
    began = time.monotonic()
    with StatusLines(out, every_s=0.01) as lines:
        lines.show("one")
        lines.show("two", now=True)
    assert time.monotonic() - began < WITHIN_S


def test_a_reader_that_does_not_read_stops_nothing() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding="utf-8") as out:
        began = time.monotonic()
        with StatusLines(out, every_s=3_600.0) as lines:
            for number in range(50):
                lines.show(f"{number} {'x' * 100_000}", now=True)
        assert time.monotonic() - began < WITHIN_S
        os.close(reading)  # The thread's write ends: nobody reads any more.


async def test_updates_pass_through_and_are_shown() -> None:
    async def updates() -> AsyncIterator[ExecutionUpdate]:
        yield Progressed(
            execution_id="1", waiting=0, ready=0, running=2, backing_off=0, in_doubt=1, done=1_000,
            failed=3, cancelled=0, skipped=0, total=2_000, fraction=0.5, retries=4, elapsed_s=1.0,
        )  # fmt: skip
        yield Finished(execution_id="1", status=ExecutionStatus.COMPLETED, elapsed_s=2.0)

    out = Waited()
    with StatusLines(out, every_s=3_600.0) as lines:
        passed = [update async for update in lines.follow(updates())]
        shown = out.until(lambda lines: "completed" in lines[-1] if lines else False)
    assert [type(update) for update in passed] == [Progressed, Finished]
    assert shown[-1].endswith(
        "completed, 1,000 of 2,000 sub-tasks, 2 running, 3 failed, 1 in doubt, 4 retries"
    )


class Part(Contract, name="status.part"):
    n: int


class Work(Request[Part], name="status.work"):
    n: int


class Worker(Agent):
    @handler
    async def work(self, request: Work) -> Part:
        return Part(n=request.n)


class Whole(Contract, name="status.whole"):
    parts: int


def parts_of(whole: Whole) -> list[SubTask]:
    return [SubTask(f"part-{n}", Work(n=n)) for n in range(whole.parts)]


@pytest.mark.parametrize("parts", [1, 50])
async def test_any_job_has_lines(parts: int) -> None:
    job: Job[Whole, list[Part]] = Job(name="status", decompose=parts_of, reducer=Collect[Part]())
    out = Waited()
    with StatusLines(out, every_s=3_600.0) as lines:
        async with start(engine="inline", hosts=1) as system:
            await system.pool(Worker, size=2)
            handle = system.submit(job, Whole(parts=parts))
            async for _ in lines.follow(handle.updates()):
                pass
            assert len(await handle.result()) == parts
    assert f"completed, {parts} of {parts} sub-tasks" in out.getvalue()
