"""The authority of a root: its states, and that two roots never have it at once."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.runtime.control_plane.authority import (
    AUTHORITY_S,
    END_S,
    UNLIMITED,
    WAIT_S,
    AuthorityCore,
    Standing,
)


def test_a_first_root_acts_once_it_is_confirmed_and_not_before() -> None:
    core = AuthorityCore(10.0, is_alone=True)
    assert core.standing(10.0) is Standing.LAPSED
    assert core.renews_until_s(10.0) == -math.inf
    core.confirmed(10.1)
    assert core.standing(10.2) is Standing.HELD
    assert core.renews_until_s(10.2) == 10.1 + AUTHORITY_S


def test_a_root_waits_for_an_earlier_one_that_may_still_act() -> None:
    core = AuthorityCore(10.0, is_alone=False)
    core.confirmed(10.0 + WAIT_S - 0.1)
    assert core.standing(10.0 + WAIT_S - 0.05) is Standing.WAITING
    assert core.renews_until_s(10.0 + WAIT_S - 0.05) == -math.inf
    assert core.standing(10.0 + WAIT_S) is Standing.HELD


def test_a_confirmation_counts_from_its_question() -> None:
    core = AuthorityCore(0.0, is_alone=True)
    core.confirmed(1.0)  # The answer came at 3.9.
    assert core.standing(3.9) is Standing.HELD
    assert core.standing(1.0 + AUTHORITY_S) is Standing.LAPSED
    core.confirmed(0.5)  # An answer that is older than the last one gives nothing.
    assert core.standing(1.0 + AUTHORITY_S) is Standing.LAPSED
    core.confirmed(5.0)
    assert core.standing(5.1) is Standing.HELD


def test_a_root_that_is_not_confirmed_for_long_ends() -> None:
    core = AuthorityCore(0.0, is_alone=True)
    core.confirmed(1.0)
    assert core.standing(1.0 + AUTHORITY_S + END_S - 0.1) is Standing.LAPSED
    assert core.standing(1.0 + AUTHORITY_S + END_S) is Standing.OVER
    core.confirmed(1.0 + AUTHORITY_S + END_S)
    assert core.standing(1.0 + AUTHORITY_S + END_S) is Standing.OVER, "it never comes back"


def test_a_root_that_never_gets_an_answer_ends_too() -> None:
    assert AuthorityCore(0.0, is_alone=True).standing(END_S) is Standing.OVER
    core = AuthorityCore(0.0, is_alone=False)
    assert core.standing(END_S) is Standing.LAPSED
    assert core.standing(WAIT_S + END_S) is Standing.OVER


@pytest.mark.parametrize("is_alone", [True, False])
def test_a_newer_claim_ends_it_at_once(*, is_alone: bool) -> None:
    core = AuthorityCore(0.0, is_alone=is_alone)
    core.confirmed(0.1)
    core.refused()
    assert core.standing(0.2) is Standing.OVER
    core.confirmed(0.3)
    assert not core.may_act(0.4)


def test_a_root_in_a_driver_may_always_act() -> None:
    assert UNLIMITED.may_act()
    assert UNLIMITED.renews_until_s() == math.inf


RATES = st.floats(min_value=0.93, max_value=1.07)


@given(RATES, RATES, st.floats(min_value=0.0, max_value=100.0), st.floats(0.0, 10.0))
def test_two_roots_never_act_at_once(
    old_rate: float, new_rate: float, asked_s: float, after_s: float
) -> None:
    """The old one's last question is answered before the new one's claim is."""
    old, new = AuthorityCore(0.0, is_alone=True), AuthorityCore(asked_s * new_rate, is_alone=False)
    old.confirmed(asked_s * old_rate)
    moment_s = asked_s + after_s
    new.confirmed(moment_s * new_rate)
    assert not (old.may_act(moment_s * old_rate) and new.may_act(moment_s * new_rate))
