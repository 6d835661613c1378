"""The fold of a history, change by change: what each leaves, and what it takes away."""

import pytest

from callboard.actors.executions.history.encoding import Packed
from callboard.actors.executions.history.events import Began, Beginning, Decided
from callboard.actors.executions.history.fold import Attempt, ExecutionHistory
from callboard.actors.executions.history.moved import MovedWriter
from callboard.messages.core.contract import ContractKey
from callboard.messages.jobs.execution import Decision, TaskStatus

RESULT = Packed(ContractKey("tests.fold.result", 1, 2), b"\x80")
ERROR = {"code": "failed", "message": "it broke"}


def begun(*names: str) -> ExecutionHistory:
    """Sub-tasks whose first attempts have begun."""
    history = ExecutionHistory("e")
    history.ids.extend(names)
    history.statuses.extend([TaskStatus.WAITING] * len(names))
    history._began(Began(1.0, [Beginning(index, 1) for index in range(len(names))]))
    return history


def test_attempts_that_have_begun_run() -> None:
    history = begun("a", "b")
    assert history.began == {0: 1, 1: 1}
    assert history.statuses == [TaskStatus.RUNNING] * 2


@pytest.mark.parametrize("end", ["done", "troubled", "doubtful", "failed"])
@pytest.mark.parametrize("at_once", [1, 2])
def test_an_attempt_whose_end_is_known_has_no_beginning_left(end: str, at_once: int) -> None:
    history, writer = begun("a", "b", "c"), MovedWriter()
    history.lost[0] = (1, "gone")
    expected: list[Attempt] = []
    for index in range(at_once):
        match end:
            case "done":
                writer.done(index, 1, "1/100", 0.5, RESULT)
                expected.append(Attempt(index, 1, "1/100", 9.5, 0.5, "", ""))
            case "troubled":
                writer.troubled(index, 1, "1/100", 0.5, code="c", message="m", is_loss=True)
                expected.append(Attempt(index, 1, "1/100", 9.5, 0.5, "c", "m"))
            case "doubtful":
                writer.doubtful(index, 1, "c", "m", ("1/100", 0.5))
                expected.append(Attempt(index, 1, "1/100", 9.5, 0.5, "c", "m"))
            case "failed":
                writer.failed_in(index, ERROR, 1, "1/100", 0.5)
                expected.append(Attempt(index, 1, "1/100", 9.5, 0.5, "failed", "it broke"))
            case _:
                raise AssertionError(end)
    history._moved(writer.event(10.0))
    assert history.began == dict.fromkeys(range(at_once, 3), 1)
    assert history.attempts == expected
    if end != "troubled":
        status = TaskStatus.IN_DOUBT if end == "doubtful" else TaskStatus(end)
        assert history.statuses[:at_once] == [status] * at_once
    assert history.statuses[at_once:] == [TaskStatus.RUNNING] * (3 - at_once)
    assert len(history.results) == (at_once if end == "done" else 0)
    assert len(history.doubtful) == (at_once if end == "doubtful" else 0)
    assert len(history.errors) == (at_once if end == "failed" else 0)
    assert (0 in history.lost) == (end != "done")


def test_results_that_follow_each_other_are_one_change() -> None:
    history = begun("a", "b", "c")
    for index in range(3):
        writer = MovedWriter()
        writer.done(index, 1, "1/100", 0.5, RESULT)
        if index == 1:
            writer.cancelled.append(index)
        history._moved(writer.event(10.0))
    assert history.order == [("done", [0, 1]), ("cancelled", 1), ("done", [2])]
    assert history.results[2] == (1, RESULT)


def test_ends_without_an_attempt_add_none() -> None:
    history, writer = begun("a", "b"), MovedWriter()
    writer.doubtful(0, 1, "c", "m", None)
    writer.failed(1, ERROR)
    history._moved(writer.event(10.0))
    assert history.attempts == []
    assert history.doubtful == {0: (1, "c", "m")}
    assert history.errors == {1: ERROR}
    assert [what for what, _ in history.order] == ["doubtful", "failed"]


@pytest.mark.parametrize("decision", [Decision.RUN_AGAIN, Decision.FAIL])
def test_a_decision_ends_a_doubt(decision: Decision) -> None:
    history, writer = begun("a"), MovedWriter()
    writer.doubtful(0, 1, "c", "m", None)
    history._moved(writer.event(10.0))
    history._decided(Decided(0, decision, "me", 11.0))
    assert history.doubtful == {}
    again = decision is Decision.RUN_AGAIN
    assert history.statuses == [TaskStatus.READY if again else TaskStatus.FAILED]
    assert history.errors == ({} if again else {0: {"code": "c", "message": "m"}})
    assert history.order[-1] == ("decided", (0, decision))


def test_what_is_cancelled_is_in_doubt_no_more() -> None:
    history, doubt, cancel = begun("a"), MovedWriter(), MovedWriter()
    doubt.doubtful(0, 1, "c", "m", None)
    history._moved(doubt.event(10.0))
    cancel.cancelled.append(0)
    history._moved(cancel.event(11.0))
    assert (history.doubtful, history.statuses) == ({}, [TaskStatus.CANCELLED])


def test_a_history_has_its_plan_once_all_sub_tasks_are_there() -> None:
    history = begun("a")
    seen: list[bool] = []
    for history.planned_count in (None, 2, 1, 0):
        seen.append(history.has_plan)
    assert seen == [False, False, True, True]
