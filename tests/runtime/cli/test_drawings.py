"""Drawings of executions: durations, executors over time, the page, and events in words."""

import asyncio
import itertools
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import callboard as cb
from callboard import Agent, Contract, Job, Request, SubTask, handler
from callboard.actors.executions.history.fold import Attempt, ExecutionHistory
from callboard.jobs import RetryPolicy
from callboard.messages.core.errors import ExecutionFailed
from callboard.runtime.cli.attempt_rows import ROWS_MAX, ExecutorRows, executor_rows
from callboard.runtime.cli.chart import timeline
from callboard.runtime.cli.figures import age
from callboard.runtime.cli.logs import find, history_of, open_logs

Run = Callable[..., Any]


class Part(Contract, name="drawings.part"):
    """Done."""


class Step(Request[Part], name="drawings.step"):
    name: str


class Pay(Request[Part], name="drawings.pay"):
    """Must not run twice."""


class Bank(Agent):
    """Pays, and fails: nothing shows whether the payment happened."""

    paid: ClassVar[asyncio.Event]

    @handler
    async def pay(self, _request: Pay) -> Part:
        Bank.paid.set()
        raise ConnectionError("is it paid?")


class Worker(Agent):
    """Fails, but not before the bank."""

    @handler
    async def step(self, request: Step) -> Part:
        if request.name == "bad":
            await Bank.paid.wait()
            raise ValueError("no <such> file")
        return Part()


def plan(request: Step) -> list[SubTask]:
    twice = RetryPolicy(attempts_max=2, backoff_min_s=0.001)
    return [
        SubTask("first", Step(name="first")),
        SubTask("pay", Pay(), needs=("first",), non_idempotent=True, optional=True),
        SubTask("bad", Step(name="bad"), needs=("first",), retry=twice),
        *(SubTask(f"n{n}", Step(name="n"), needs=("first",)) for n in range(int(request.name))),
    ]


async def fail(count: int) -> None:
    job = Job[Step, list[Part]](name="drawn", decompose=plan)
    Bank.paid = asyncio.Event()
    async with cb.start(engine="inline", hosts=1, journal="j.db") as system:
        await system.spawn(Bank, offer=True)
        await system.spawn(Worker, offer=True)
        with pytest.raises(ExecutionFailed):
            await system.submit(job, Step(name=str(count)), execution_id="one").result(30)


def drawn(count: int) -> ExecutionHistory:
    asyncio.run(fail(count))
    with open_logs("j.db") as logs:
        return history_of(find(logs, "one"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (0.000_000_4, "0 µs"),
        (0.000_25, "250 µs"),
        (0.000_999_7, "1.0 ms"),
        (0.004_2, "4.2 ms"),
        (0.049_9, "50 ms"),
        (0.999_6, "1.0 s"),
        (9.94, "9.9 s"),
        (59.9, "59 s"),
        (61.0, "1 min 1 s"),
        (-1.0, "0 s"),
    ],
)
def test_a_duration_has_the_unit_that_fits(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_the_last_attempt_of_a_failed_sub_task_has_its_times(folder: Path) -> None:
    history = drawn(0)
    ended = [(history.ids[one.task], one.attempt, one.code) for one in history.attempts]
    failed = "handler_failed"
    assert sorted(ended) == [
        ("bad", 1, failed), ("bad", 2, failed), ("first", 1, ""), ("pay", 1, failed)
    ]  # fmt: skip
    assert all(one.executor and one.took_s > 0 for one in history.attempts)
    assert not history.doubtful, "it was cancelled with the execution"


def test_tail_prints_events_in_words(folder: Path, callboard: Run) -> None:
    drawn(8)
    ended = callboard("tail", "one", "--journal", "j.db")
    assert ended.code == 0, ended.err
    for said in (
        "job drawn submitted",
        "planned: 11 sub-tasks",
        "to do: first, pay, bad, n0, n1, n2 and 5 more",
        r"done: first \([\d.]+ (µs|ms|s), host 1\)",
        "begins, must not run twice: pay",
        "in doubt: pay, attempt 1 may have run",
        r"runs again: bad, attempt 1 failed in .*no <such> file",
        "failed: bad: ",
        "running → failed, by attempt_failed",
    ):
        assert re.search(said, ended.out), said


class Balanced(HTMLParser):
    """Checks that every opened tag is closed, and that the file loads nothing."""

    VOID: Final = {"meta"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not {"src", "href", "xlink:href", "onclick"} & {name for name, _ in attrs}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.mark.parametrize("count", [0, 3, 200])
def test_the_page_is_complete_and_self_contained(folder: Path, callboard: Run, count: int) -> None:
    drawn(count)
    ended = callboard("show", "one", "--journal", "j.db", "--html", "page.html")
    assert ended.code == 0, ended.err
    html = Path("page.html").read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    assert "url(" not in html
    assert "@import" not in html
    assert "no &lt;such&gt; file" in html, "readers without JavaScript see it too"
    data = json.loads(re.findall(r'id="execution">(.*?)</script>', html)[0])
    assert len(data["sub_tasks"]) == count + 3
    for drawing in data["timelines"].values():
        bars = [bar for group in drawing["groups"] for bar in group["bars"]]
        assert sum(bar["outcome"] != "done" for bar in bars) == 3
    assert [one["message"] for one in data["execution"]["failures"] if "<such>" in one["message"]]


def is_crowd(executor: ExecutorRows) -> bool:
    """Whether more attempts than an executor has rows ran at one moment."""
    return any(
        sum(
            1
            for other in executor.attempts
            if other.began_at <= one.began_at < other.began_at + other.took_s
        )
        > ROWS_MAX
        for one in executor.attempts
    )


TIMES: Final = st.lists(
    st.tuples(st.integers(0, 1_000), st.integers(1, 800), st.sampled_from(["1/1", "x"])),
    min_size=1,
    max_size=60,
)


@given(TIMES)
def test_attempts_of_one_row_do_not_overlap_and_none_is_left_out(
    times: list[tuple[int, int, str]],
) -> None:
    history = ExecutionHistory("x")
    history.ids.append("a")
    attempts = [Attempt(0, 1, executor, began, took, "", "") for began, took, executor in times]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("callboard.runtime.cli.attempt_rows.kinds_of", lambda _history: ["a.Step"])
        executors = executor_rows(history, attempts)
        history.attempts.extend(attempts)
        console = Console(width=80, record=True, file=None, force_terminal=False)
        console.print(timeline(history, 80))
    assert sorted(one for executor in executors for one in executor.attempts) == sorted(attempts)
    for executor in executors:
        in_rows = [one for row in executor.rows for one in row]
        assert sorted(in_rows) == sorted(executor.attempts) or (not in_rows and is_crowd(executor))
        for row in executor.rows:
            for one, after in itertools.pairwise(row):
                assert one.began_at + one.took_s <= after.began_at
    assert all(len(line) <= 80 for line in console.export_text().splitlines())
