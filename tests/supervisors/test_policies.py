"""The restart window and the back-off: their edges, and their bounds for any numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.messages.control.spec import BACKOFF_STEP_S, Backoff, Intensity
from callboard.supervisors.policies import RestartWindow

INTENSITIES = st.builds(
    Intensity, restarts=st.integers(0, 6), period_s=st.floats(0.5, 100, allow_nan=False)
)


@st.composite
def backoffs(draw: st.DrawFn) -> Backoff:
    min_s = draw(st.floats(0, 10))
    return Backoff(
        min_s=min_s,
        max_s=min_s + draw(st.floats(0, 100)),
        factor=draw(st.floats(1, 10)),
        jitter=draw(st.floats(0, 1)),
    )


def test_window_exactly_at_limit_admits() -> None:
    window = RestartWindow(Intensity(restarts=3, period_s=5.0))
    assert [window.admit(0.0) for _ in range(3)] == [True] * 3


def test_window_one_over_limit_refuses() -> None:
    window = RestartWindow(Intensity(restarts=3, period_s=5.0))
    assert [window.admit(0.1 * n) for n in range(4)] == [True, True, True, False]


def test_window_zero_restarts_refuses_the_first() -> None:
    assert not RestartWindow(Intensity(restarts=0, period_s=5.0)).admit(0.0)


def test_window_restart_exactly_one_period_ago_counts() -> None:
    window = RestartWindow(Intensity(restarts=1, period_s=5.0))
    assert window.admit(10.0)
    assert not window.admit(15.0)


def test_window_restart_just_over_one_period_ago_is_forgotten() -> None:
    window = RestartWindow(Intensity(restarts=1, period_s=5.0))
    assert window.admit(10.0)
    assert window.admit(math.nextafter(15.0, math.inf))


def test_window_slides_rather_than_resets() -> None:
    window = RestartWindow(Intensity(restarts=2, period_s=5.0))
    assert [window.admit(now) for now in (0.0, 4.0, 6.0, 8.0)] == [True, True, True, False]


@given(INTENSITIES, st.lists(st.floats(0, 20), max_size=40))
def test_window_agrees_with_counting_all_restarts(
    intensity: Intensity, gaps_s: list[float]
) -> None:
    """A refused supervisor is no more, so the count matters up to the first refusal."""
    window, times_s, now = RestartWindow(intensity), [], 0.0
    for gap_s in gaps_s:
        now += gap_s
        times_s.append(now)
        recent = sum(time_s >= now - intensity.period_s for time_s in times_s)
        admitted = window.admit(now)
        assert admitted == (recent <= intensity.restarts)
        assert len(window) <= intensity.restarts + 1
        if not admitted:
            break


def test_backoff_default_is_immediate_once_and_then_doubles_from_the_step() -> None:
    bases_s = [Backoff().delay_s(n) for n in range(1, 6)]
    assert bases_s == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.8])
    assert bases_s[1] == BACKOFF_STEP_S


def test_backoff_with_min_grows_from_min() -> None:
    backoff = Backoff(min_s=1.0, max_s=5.0)
    assert [backoff.delay_s(n) for n in range(1, 6)] == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_backoff_max_zero_never_waits() -> None:
    assert all(Backoff(max_s=0.0).delay_s(n) == 0.0 for n in range(1, 9))


@pytest.mark.parametrize("factor", [2, 2.0, 1e300])
def test_backoff_after_very_many_restarts_is_max(factor: float) -> None:
    assert Backoff(min_s=0.5, factor=factor).delay_s(10**9) == 30.0


@given(backoffs(), st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_delay_is_within_its_bounds(
    backoff: Backoff, consecutive: int, random: float
) -> None:
    base_s = backoff.delay_s(consecutive)
    delay_s = backoff.delay_s(consecutive, random)
    assert base_s * (1 - backoff.jitter) <= delay_s <= base_s <= backoff.max_s
    assert backoff.delay_s(consecutive + 1) >= base_s
