"""Live progress: what is shown follows from the updates, and only on standard error."""

import io
import time
from collections.abc import AsyncIterator, Callable

import pytest
from rich.console import Console

from callboard.messages.jobs.execution import ExecutionStatus
from callboard.messages.jobs.updates import (
    ExecutionPhase,
    ExecutionUpdate,
    Finished,
    PartialResult,
    PhaseChanged,
    Progressed,
    TaskTroubled,
)
from examples.review.agents import BatchFindings
from examples.review.finding import Finding, Severity
from examples.review.progress import (
    LinesView,
    NoView,
    ReviewProgress,
    TableView,
    Tally,
    choose_view,
    follow,
    line_of,
)


def progressed(elapsed_s: float, done: int = 3, retries: int = 0) -> Progressed:
    return Progressed(
        execution_id="1", waiting=0, ready=2, running=1, backing_off=0, done=done, failed=0,
        cancelled=0, skipped=0, total=6, fraction=0.5, retries=retries, elapsed_s=elapsed_s,
    )  # fmt: skip


def partial(*counts: tuple[str, int, int]) -> PartialResult:
    found = Finding(
        path="a.py", line=1, topic="t", rule="r", message="m", severity=Severity.LOW,
        confidence=0.5, agents=("text",),
    )  # fmt: skip
    answers = [
        BatchFindings(
            specialist=name,
            reviewed=("a.py",) * files,
            left=(),
            findings=(found,) * findings,
            busy_s=0.0,
        )
        for name, files, findings in counts
    ]
    return PartialResult(execution_id="1", value=answers, results=len(answers))


def phase(value: ExecutionPhase) -> PhaseChanged:
    return PhaseChanged(execution_id="1", phase=value, timestamp=0.0)


def lines_of(text: io.StringIO) -> list[str]:
    return text.getvalue().splitlines()


def test_findings_and_files_are_counted_for_each_specialist() -> None:
    progress = ReviewProgress(files=4).after(
        partial(("text", 2, 1), ("ruff", 1, 5), ("text", 1, 2))
    )
    assert progress.by_specialist == {"ruff": Tally(1, 5), "text": Tally(3, 3)}
    assert progress.findings == 8


def test_a_line_says_how_far_it_is_and_who_lives() -> None:
    progress = ReviewProgress(files=4, hosts=2)
    for update in (phase(ExecutionPhase.RUNNING), progressed(1.25, retries=7)):
        progress = progress.after(update)
    line = line_of(progress)
    assert line == "running | 3 of 6 sub-tasks | 0 findings | 2 hosts | 7 retries"


def test_a_first_line_comes_at_once_and_another_with_the_first_result() -> None:
    text = io.StringIO()
    with LinesView(text, every_s=3_600.0) as view:
        view.say("starting Ray")
        until(text, lambda lines: len(lines) == 1)
        progress = ReviewProgress(files=4)
        for update in (progressed(0.1), partial(("text", 1, 1)), progressed(0.2), progressed(0.3)):
            progress = progress.after(update)
            view.show(progress)
        until(text, lambda lines: len(lines) == 2)
    assert ["Ray" in line for line in lines_of(text)] == [True, False]
    assert "3 of 6 sub-tasks" in lines_of(text)[1]


def test_lines_come_though_there_is_no_news() -> None:
    text = io.StringIO()
    with LinesView(text, every_s=0.01) as view:
        view.show(ReviewProgress(files=4).after(progressed(0.1)))
        until(text, lambda lines: len(lines) >= 3)


def until(text: io.StringIO, holds: Callable[[list[str]], bool]) -> None:
    deadline_s = time.monotonic() + 10.0
    while not holds(lines_of(text)):
        assert time.monotonic() < deadline_s, text.getvalue()


async def test_a_lost_host_is_printed_at_once() -> None:
    text = io.StringIO()
    living = iter([2, 2, 2, 1, 1])

    async def updates() -> AsyncIterator[ExecutionUpdate]:
        yield partial(("text", 1, 1))
        until(text, lambda lines: len(lines) == 1)
        yield progressed(0.2)
        yield progressed(0.3)
        until(text, lambda lines: len(lines) == 2)
        yield Finished(execution_id="1", status=ExecutionStatus.COMPLETED, elapsed_s=0.4)

    with LinesView(text, every_s=3_600.0) as view:
        await follow(updates(), view, files=1, living_hosts=lambda: next(living))
    assert ["2 hosts" in line for line in lines_of(text)] == [True, False]


def test_a_table_has_a_row_for_each_specialist_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")  # On a dumb terminal nothing is drawn.
    text = io.StringIO()
    console = Console(file=text, width=100, force_terminal=True, color_system=None)
    trouble = TaskTroubled(
        execution_id="1", task_id="ruff/3", attempt=1, code="c", message="[oops", retried=True
    )
    with TableView(console) as view:
        view.say("starting Ray")
        assert "starting Ray" in text.getvalue()
        view.show(
            ReviewProgress(files=4).after(partial(("text", 2, 1), ("ruff", 4, 5))).after(trouble)
        )
        shown = text.getvalue()
    assert "2 / 4" in shown
    assert "4 / 4" in shown
    assert "ruff/3: [oops" in shown
    assert text.getvalue().endswith("\x1b[2K")


def test_a_pipe_gets_lines_a_terminal_a_table_and_json_silence() -> None:
    pipe = Console(file=io.StringIO())
    terminal = Console(file=io.StringIO(), force_terminal=True)
    assert isinstance(choose_view(pipe, silent=False), LinesView)
    assert isinstance(choose_view(terminal, silent=False), TableView)
    assert type(choose_view(terminal, silent=True)) is NoView
