"""The lease of a process, and the heartbeats as its root counts them: plain calls, no clock."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.runtime.control_plane.leases import Change, HostWatch, WatchState
from callboard.runtime.hosting.lease import CLOCK_RATE_MAX, LATEST_SHARE, Lease, takeover_s

from ...thoroughness import examples

LEASE_S = 25.0


def watch(missed_max: int = 5) -> HostWatch:
    return HostWatch(0.0, missed_max, LEASE_S)


def beats(host: HostWatch, first_s: int, count: int) -> list[Change | None]:
    """Heartbeats once a second without an answer; the changes of state."""
    return [host.beat(float(first_s + n), math.inf)[1] for n in range(count)]


def test_the_margin_holds_for_the_slowest_host_and_the_fastest_root() -> None:
    for lease_s in (0.5, 4.0, LEASE_S, 3_600.0):
        latest_s = Lease(lease_s, 0.0).latest_s / (1.0 - CLOCK_RATE_MAX)
        assert latest_s < takeover_s(lease_s) / (1.0 + CLOCK_RATE_MAX)
    assert takeover_s(LEASE_S) == 30.0
    assert LATEST_SHARE * LEASE_S == 1.0


def test_a_lost_host_is_silent_after_two_heartbeats_and_given_up_after_five() -> None:
    host = watch()
    changes = beats(host, 1, 9)
    assert changes.index(Change.SILENT) == 2  # Sent at 1 s, missed at 2 s and at 3 s.
    assert changes.index(Change.GIVEN_UP) == 5
    assert [change for change in changes if change] == [Change.SILENT, Change.GIVEN_UP]
    assert host.beat(99.0, math.inf) == (None, None)
    assert host.ends_s() == 30.0


def test_a_silent_host_that_answers_costs_nothing() -> None:
    host = watch()
    beats(host, 1, 4)
    assert host.state is WatchState.SILENT
    assert host.answered(1_000.0, 4.5) is Change.ANSWERS_AGAIN
    assert (host.state, host.missed) == (WatchState.UP, 0)
    beat, change = host.beat(5.0, math.inf)
    assert beat is not None
    assert (beat.stamp_s, change) == (1_000.0, None)
    assert host.ends_s() == 34.5


def test_at_most_one_heartbeat_is_on_its_way_and_one_that_failed_is_followed() -> None:
    host = watch()
    first, _ = host.beat(1.0, math.inf)
    assert first is not None
    assert host.beat(2.0, math.inf) == (None, None)
    host.failed(first.number)
    second, change = host.beat(3.0, math.inf)
    assert second is not None
    assert (second.number, change, host.missed) == (first.number + 1, Change.SILENT, 2)
    host.failed(first.number)  # The news of a call that is over.
    assert host.beat(4.0, math.inf)[0] is None


def test_a_host_that_is_given_up_is_not_renewed_and_does_not_come_back() -> None:
    host = watch()
    host.answered(7.0, 1.0)
    assert host.give_up() is Change.GIVEN_UP
    assert host.give_up() is None
    assert host.beat(2.0, math.inf) == (None, None)
    assert host.answered(8.0, 2.0) is None
    assert host.ends_s() == 31.0


def test_a_root_without_authority_asks_and_does_not_renew() -> None:
    host = watch()
    host.answered(7.0, 1.0)
    beat, _ = host.beat(2.0, 2.0)
    assert beat is not None
    assert beat.stamp_s is None
    host.answered(8.0, 2.1)
    beat, _ = host.beat(3.0, 3.5)
    assert beat is not None
    assert beat.stamp_s == 8.0


def test_a_process_without_a_lease_ends_by_proof_alone() -> None:
    assert HostWatch(0.0, 5, None).ends_s() == math.inf


def test_a_lease_counts_from_the_stamp_and_never_goes_back() -> None:
    lease = Lease(LEASE_S, 100.0)
    lease.renew(104.0, 110.0)
    assert lease.ends_s == 129.0
    lease.renew(101.0, 111.0)  # An old heartbeat that was under way for long.
    assert lease.ends_s == 129.0
    lease.renew(500.0, 112.0)  # No stamp of this process.
    assert lease.ends_s == 137.0
    assert not lease.has_ended(136.9)
    assert lease.has_ended(137.0)
    lease.renew(136.0, 138.0)
    assert lease.ends_s == 137.0


RATES = st.floats(1.0 - CLOCK_RATE_MAX, 1.0 + CLOCK_RATE_MAX)


@settings(max_examples=examples(300))
@given(
    rates=st.tuples(RATES, RATES),
    journeys=st.lists(
        st.tuples(st.floats(0.0, 40.0), st.floats(0.0, 40.0), st.floats(0.0, 5.0)), max_size=8
    ),
    lost=st.booleans(),
)
def test_whatever_the_delays_the_host_has_ended_before_its_slot_is_taken_over(
    rates: tuple[float, float], journeys: list[tuple[float, float, float]], lost: bool
) -> None:
    """Heartbeats and answers may take any time; the last answer may be lost, or late."""
    host_rate, root_rate = rates
    lease, root = Lease(LEASE_S, 0.0), watch()
    world_s = 0.0
    for number, (there_s, back_s, pause_s) in enumerate(journeys):
        beat, _ = root.beat(root_rate * world_s, math.inf)
        if beat is None:
            break
        world_s += there_s
        host_s = host_rate * world_s
        if host_s >= lease.latest_s:
            break  # The process has ended.
        if beat.stamp_s is not None:
            lease.renew(beat.stamp_s, host_s)
        if lost and number == len(journeys) - 1:
            break
        world_s += back_s
        root.answered(host_s, root_rate * world_s)
        world_s += pause_s
    assert lease.latest_s / host_rate < root.ends_s() / root_rate
