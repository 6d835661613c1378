"""`callboard top`: rates from two snapshots, and their tables."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from callboard.messages.control.control_plane import FIRST_DRIVER_SLOT
from callboard.messages.control.views import (
    ActorLoad,
    CallboardView,
    DriverView,
    HostView,
    LinkView,
    StandbyView,
)
from callboard.runtime.cli.outcome import ExitCode
from callboard.runtime.cli.rates import HostRow, SystemRows, Trend
from callboard.runtime.cli.sources import Snapshot, Source
from callboard.runtime.cli.top import SORTS, Watcher, draw, sorted_rows

Run = Callable[..., Any]


def host(at_s: float, **changes: Any) -> HostView:
    fields: dict[str, Any] = {
        "slot": 1,
        "epoch": 1,
        "name": "host-1",
        "pid": 7,
        "node": "here",
        "actors": 3,
        "handled": 0,
        "pending_asks": 0,
        "dead_letters": {},
        "memory_bytes": 0,
        "at_s": at_s,
        "uptime_s": at_s,
    }
    return HostView(**(fields | changes))


def system(*hosts: HostView) -> CallboardView:
    return CallboardView(name="s", hosts=hosts, restarts=0, standbys=1)


def link(**changes: int) -> LinkView:
    counts = {"frames_out": 0, "frames_in": 0, "bytes_out": 0, "bytes_in": 0, "waiting": 0}
    return LinkView(slot=0, state="open", frames_resent=0, **(counts | changes))


def row(trend: Trend, *hosts: HostView) -> HostRow:
    return trend.add(system(*hosts)).hosts[0]


# --- rates ------------------------------------------------------------------------------------


def test_one_snapshot_gives_no_rates() -> None:
    found = row(Trend(), host(5.0, handled=1_000, cpu_s=3.0))
    assert found.messages_per_s is None
    assert found.cpu_percent is None
    assert found.restarts_per_min is None


def test_a_new_incarnation_has_no_rate_with_the_old_one() -> None:
    trend = Trend()
    row(trend, host(5.0, handled=1_000))
    assert row(trend, host(7.0, epoch=2, handled=10)).messages_per_s is None
    assert row(trend, host(8.0, epoch=2, handled=30)).messages_per_s == 20.0


def test_a_host_that_was_silent_meanwhile_has_no_rate() -> None:
    trend = Trend()
    row(trend, host(5.0, handled=10))
    silent = row(trend, host(0.0, state="silent", problem="it has not answered for 2 s"))
    assert (silent.state, silent.messages_per_s) == ("silent", None)
    assert row(trend, host(9.0, handled=50)).messages_per_s is None


def test_a_clock_that_stands_gives_no_rate() -> None:
    trend = Trend()
    row(trend, host(5.0, handled=10))
    assert row(trend, host(5.0, handled=20)).messages_per_s is None


def test_rates_are_by_the_hosts_own_clock() -> None:
    trend = Trend()
    row(trend, host(10.0, handled=100, cpu_s=1.0, links=(link(frames_out=5, bytes_in=100),)))
    found = row(
        trend,
        host(12.0, handled=300, cpu_s=2.0, links=(link(frames_out=9, bytes_in=300, waiting=4),)),
    )
    assert found.messages_per_s == 100.0
    assert found.cpu_percent == 50.0
    assert (found.frames_per_s, found.bytes_per_s) == (2.0, 100.0)
    (between,) = trend.add(
        system(host(14.0, links=(link(frames_out=19, bytes_in=300, waiting=4),)))
    ).links
    assert (between.peer, between.waiting) == ("slot 0", 4)
    assert (between.frames_out_per_s, between.bytes_in_per_s) == (5.0, 0.0)


def test_restarts_are_counted_over_a_minute() -> None:
    trend = Trend()
    rows = [row(trend, host(float(second), restarts=second // 10)) for second in range(100)]
    found = rows[-1]
    assert found.restarts == 9
    assert found.restarts_per_min == pytest.approx(6.0)


def test_an_actor_of_the_first_snapshot_has_no_rate() -> None:
    load = ActorLoad(cell=1, path="/a", kind="A", handled=50, mailbox=3, running=1)
    trend = Trend()
    (first,) = trend.add(system(host(1.0, busiest=(load,)))).actors
    (second,) = trend.add(system(host(2.0, busiest=(load,), busiest_window_s=0.5))).actors
    assert (first.path, first.messages_per_s, first.mailbox) == ("host-1/a", None, 3)
    assert second.messages_per_s == 100.0


@pytest.mark.parametrize("sort", SORTS)
def test_every_sort_has_its_columns(sort: str) -> None:
    trend = Trend()
    load = ActorLoad(cell=1, path="/a", kind="A", handled=50, mailbox=3, running=1)
    rows = trend.add(system(host(1.0, links=(link(),), busiest=(load,)), host(1.0, slot=2)))
    assert len(sorted_rows(rows, sort).hosts) == 2


def test_rows_are_sorted_largest_first() -> None:
    rows = Trend().add(system(host(1.0, pending_asks=1), host(1.0, slot=2, pending_asks=5)))
    assert [one.pending_asks for one in sorted_rows(rows, "asks").hosts] == [5, 1]
    assert [one.pending_asks for one in sorted_rows(rows, "name").hosts] == [1, 5]


# --- drawing ------------------------------------------------------------------------------------


def drawn(snapshot: Snapshot[SystemRows], width: int = 200) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(draw(snapshot))
    return capture.get()


def test_hosts_that_do_not_answer_are_drawn_with_the_reason() -> None:
    rows = Trend().add(
        system(host(1.0, name="driver", slot=0), host(0.0, state="silent", problem="2 s"))
    )
    text = drawn(Snapshot(1, rows))
    assert "host-1 silent (2 s)" in text
    assert "driver" in text


def test_nothing_is_cut_in_a_terminal_of_80_columns() -> None:
    busy = host(1.0, name="host-12", handled=10_000_000, mailbox=1_234_567, pending_asks=99_999)
    trend = Trend()
    trend.add(system(host(0.0, name="host-12")))
    text = drawn(Snapshot(1, trend.add(system(busy))), 80)
    assert "…" not in text
    for column in ("mailbox", "restarts/min", "dead letters", "memory", "frames/s", "bytes/s"):
        assert column in text
    assert {"1,234,567", "99,999"} <= set(text.split())


def test_a_system_that_does_not_answer_is_drawn() -> None:
    assert "process 7 does not answer" in drawn(Snapshot(7, None, "does not answer"))


# --- repeated queries -----------------------------------------------------------------


async def test_systems_of_one_process_have_their_own_trends() -> None:
    views = [system(host(1.0, slot=0, handled=100)), system(host(9.0, slot=0, uptime_s=2.0))]

    def source(number: int) -> Source:
        async def ask(_: Any) -> Any:
            return views[number]

        return Source(1, ask)

    watcher = Watcher(lambda: [source(0), source(1)], 5)
    await watcher.query()
    views[:] = [
        system(host(2.0, slot=0, handled=150)),
        system(host(10.0, slot=0, uptime_s=3.0, handled=7)),
    ]
    rates = [
        snapshot.view.hosts[0].messages_per_s for snapshot in await watcher.query() if snapshot.view
    ]
    assert rates == [50.0, 7.0]


async def test_one_that_fails_does_not_hide_the_others() -> None:
    async def broken(_: Any) -> Any:
        raise TimeoutError

    async def gone(_: Any) -> Any:
        raise FileNotFoundError

    async def good(_: Any) -> Any:
        return system(host(1.0, slot=0))

    asks: list[Any] = [broken, gone, good]
    watcher = Watcher(lambda: [Source(n, ask) for n, ask in enumerate(asks)], 5)
    first, second = await watcher.query()
    assert "does not answer" in first.problem
    assert second.view is not None


def test_nothing_running_exits_1(callboard: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callboard.runtime.cli.sources.local_systems", list)
    ended = callboard("top", "--once", "--json")
    assert ended.code == ExitCode.FAILED
    assert json.loads(ended.out) == {"systems": []}
    assert "callboard run" in ended.err


def test_a_link_to_a_driver_and_a_standby_have_their_names() -> None:
    slot = FIRST_DRIVER_SLOT + 671_522_035
    to_driver = link().model_copy(update={"slot": slot})
    view = system(host(1.0, links=(to_driver,))).model_copy(
        update={
            "drivers": (DriverView(slot=slot, name="main.py"),),
            "standby_processes": (StandbyView(name="s-standby-3", pid=7, is_ready=True),),
        }
    )
    rows = Trend().add(view)
    assert [one.peer for one in rows.links] == ["main.py"]
    assert "1 standby (s-standby-3)" in drawn(Snapshot(7, rows))
