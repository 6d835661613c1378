"""The monitor table: exactly one event ends each monitor, whichever comes first or twice."""

from callboard.actors.kernel.monitors.core import (
    DropEnd,
    Key,
    MonitorTable,
    Notify,
    ReportEnd,
    Role,
    release,
)
from callboard.messages.control.lifecycle import SHUT_DOWN, Exit, ExitReason
from callboard.messages.core.ref import Address

FAILED = Exit(ExitReason.FAILED, {"message": "broken"})
THERE = Address(2, 70)


def test_an_end_reported_twice_counts_once() -> None:
    table = MonitorTable(1)
    end = table.ask(10, THERE, is_link=False)
    assert table.peer_ended(end.key, FAILED, comes_back=True) == [Notify(end, FAILED, True)]
    assert table.peer_ended(end.key, FAILED, comes_back=True) == []
    assert len(table) == 0


def test_a_table_without_monitors_keeps_no_place() -> None:
    table = MonitorTable(1)
    ends = [table.ask(10, THERE, is_link=False), table.ask(10, THERE, is_link=True)]
    table.accept(2, 5, 11, THERE, 1, is_link=False)
    asked = Key(2, 5, is_asked=True)
    assert (asked.other, asked.other.other) == (Key(2, 5, is_asked=False), asked)
    assert table.count_asked(10) == 2
    assert table.take(ends[0].key) is ends[0]
    assert table.count_asked(10) == 1
    assert [end.key for end in table.take_slot(2)] == [ends[1].key, asked]
    assert (table._ends, table._here, table._there, table._asked) == ({}, {}, {}, {})


def test_an_end_after_the_loss_of_its_host_counts_no_more() -> None:
    table = MonitorTable(1)
    end = table.ask(10, THERE, is_link=False)
    end.epoch = 3
    assert table.take_lost(2, 3) == [end]
    assert table.peer_ended(end.key, FAILED, comes_back=None) == []
    assert table.take_lost(2, 4) == []


def test_an_end_without_a_request_waits_for_the_next_incarnation() -> None:
    table = MonitorTable(1)
    end = table.ask(10, THERE, is_link=False)
    assert table.take_lost(2, 3) == []
    assert table.pending_requests(2) == [end]
    end.epoch = 4
    assert table.pending_requests(2) == []
    assert table.take_lost(2, 3) == []
    assert table.take_lost(2, 4) == [end]


def test_an_ended_slot_takes_all_ends_out() -> None:
    table = MonitorTable(1)
    sent = table.ask(10, THERE, is_link=False)
    sent.epoch = 1
    unsent = table.ask(10, THERE, is_link=True)
    elsewhere = table.ask(10, Address(3, 1), is_link=False)
    assert table.take_slot(2) == [sent, unsent]
    assert table.of(10) == [elsewhere]


def test_a_dropped_end_gives_no_notice() -> None:
    table = MonitorTable(1)
    end = table.ask(10, THERE, is_link=False)
    assert table.take(end.key) is end
    assert table.take(end.key) is None
    assert table.peer_ended(end.key, FAILED, comes_back=None) == []


def test_a_loss_takes_the_asked_ends_too() -> None:
    table = MonitorTable(1)
    table.accept(2, 5, 10, THERE, 3, is_link=False)
    assert [end.role for end in table.take_lost(2, 3)] == [Role.WATCHED]
    # The next incarnation of that host counts from 1 again.
    table.accept(2, 5, 10, THERE, 4, is_link=False)
    assert len(table.of(10)) == 1


def test_the_end_of_an_actor_tells_its_watchers_and_drops_its_watches() -> None:
    table = MonitorTable(1)
    monitors = table.ask(10, THERE, is_link=False)
    linked = table.ask(10, THERE, is_link=True)
    table.accept(2, 1, 10, THERE, 1, is_link=False)
    table.ask(11, THERE, is_link=False)
    ends = table.detach(10)
    effects = release(ends, SHUT_DOWN, comes_back=False)
    assert effects == [
        DropEnd(monitors),
        ReportEnd(linked, SHUT_DOWN, False),
        ReportEnd(ends[2], SHUT_DOWN, False),
    ]
    assert [end.here for end in table.of(11)] == [11]
    assert table.detach(10) == []


def test_a_failed_start_keeps_the_asked_ends() -> None:
    table = MonitorTable(1)
    own = table.ask(10, THERE, is_link=True)
    table.accept(2, 1, 10, THERE, 1, is_link=False)
    assert table.abandon(10) == [own]
    assert [end.role for end in table.of(10)] == [Role.WATCHED]


def test_both_ends_on_one_host_are_two() -> None:
    table = MonitorTable(1)
    end = table.ask(10, Address(1, 11), is_link=False)
    table.accept(1, end.key.number, 11, Address(1, 10), 1, is_link=False)
    assert len(table) == 2
    assert end.key.other == Key(1, end.key.number, True)
    [watched] = table.detach(11)
    assert table.peer_ended(watched.key.other, FAILED, comes_back=False) == [
        Notify(end, FAILED, False)
    ]


def test_monitors_are_found_by_their_other_side() -> None:
    table = MonitorTable(1)
    first, second = (table.ask(10, THERE, is_link=False) for _ in range(2))
    table.ask(10, Address(2, 71), is_link=False)
    table.ask(10, THERE, is_link=True)
    assert table.between(10, THERE, Role.WATCHER) == [first, second]
    assert table.count_asked(10) == 4
    assert table.take_all([first, second, first]) == [first, second]
    assert table.count_asked(10) == 2
    assert "WATCHER" in repr(first)
