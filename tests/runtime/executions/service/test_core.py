"""The next step for an execution that has stopped in its execution service."""

import pytest

from callboard.messages.core.errors import Cancelled, ExecutionFailed, StoreFailed, UsageError
from callboard.messages.storage.errors import (
    StoreFull,
    StoreUnavailable,
    WriterFenced,
    WrongExpectedVersion,
)
from callboard.runtime.executions.service.core import PAUSE, LedgerEntry, Next, what_follows


@pytest.mark.parametrize("error", [None, ExecutionFailed("no"), Cancelled("by a wish")])
def test_an_execution_that_ended_in_the_journal_is_forgotten(error: BaseException | None) -> None:
    assert what_follows(error, is_journalled=True) is Next.FORGET


def test_a_part_of_the_job_may_fail_as_a_store_does() -> None:
    assert what_follows(StoreFailed("the job's own"), is_journalled=True) is Next.FORGET


@pytest.mark.parametrize("error", [StoreUnavailable("away"), StoreFull("full"), Cancelled("ends")])
def test_a_passing_failure_is_tried_again(error: BaseException) -> None:
    assert what_follows(error, is_journalled=False) is Next.TRY_AGAIN


@pytest.mark.parametrize(
    "error",
    [WriterFenced("another"), WrongExpectedVersion("another"), UsageError("?"), ValueError("?")],
)
def test_a_fenced_or_impossible_execution_is_given_up(error: BaseException) -> None:
    assert what_follows(error, is_journalled=False) is Next.GIVE_UP


def test_pauses_grow_and_are_bounded() -> None:
    flow_control = [PAUSE.delay_s(tries) for tries in range(1, 1_001)]
    assert flow_control == sorted(flow_control)
    assert flow_control[0] == 0.2
    assert flow_control[-1] == 30.0


def test_a_ledger_entry_round_trips() -> None:
    kept = LedgerEntry("one", "job", b"\0code", "token", {"argv": ["python", "x.py"], "pid": 7})
    assert LedgerEntry.from_bytes(kept.to_bytes()) == kept
