"""The restart rules, from the two tables of OTP's manual."""

import pytest

from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.control.spec import Restart, Strategy
from callboard.supervisors.strategies import restart_group, restarts_after

ABNORMAL = set(ExitReason) - {ExitReason.NORMAL, ExitReason.SHUTDOWN}


@pytest.mark.parametrize("reason", ExitReason)
@pytest.mark.parametrize("restart", Restart)
def test_restarts_after(restart: Restart, reason: ExitReason) -> None:
    expected = {
        Restart.PERMANENT: True,
        Restart.TRANSIENT: reason in ABNORMAL,
        Restart.TEMPORARY: False,
    }
    assert restarts_after(restart, Exit(reason)) is expected[restart]


@pytest.mark.parametrize(
    ("strategy", "ended", "group"),
    [
        (Strategy.ONE_FOR_ONE, 1, [1]),
        (Strategy.ONE_FOR_ALL, 1, [0, 1, 2]),
        (Strategy.REST_FOR_ONE, 0, [0, 1, 2]),
        (Strategy.REST_FOR_ONE, 1, [1, 2]),
        (Strategy.REST_FOR_ONE, 2, [2]),
    ],
)
def test_restart_group(strategy: Strategy, ended: int, group: list[int]) -> None:
    assert restart_group(strategy, ended, [2, 1, 0]) == group


def test_rest_for_one_group_does_not_look_at_older_children() -> None:
    newest_first = iter([2, 1, 0])
    restart_group(Strategy.REST_FOR_ONE, 1, newest_first)
    assert list(newest_first) == [0]
