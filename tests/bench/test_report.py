"""The JSON that other programs read, the table that people read, the exit code."""

import io
import json
from collections.abc import Callable

import pytest
from rich.console import Console

from bench.__main__ import exit_code
from bench.machine import describe_machine
from bench.registry import BENCHES, Bench, Side
from bench.report import benches_as_data, print_report, report_as_data, to_json
from bench.rounds import Report, SideReport, run_bench

MACHINE: dict[str, str | int | float] = {"cpu": "a processor", "cores": 2}


def report_of(ours: SideReport, *peers: SideReport, bench: str = "ask") -> Report:
    return Report(bench, "How fast?", False, 1, ours, peers)


def measured(name: str, **results: float) -> SideReport:
    return SideReport(name, "measured", {"messages": 5}, results=results, check="c")


def test_json_has_the_keys_that_are_fixed(
    make_bench: Callable[..., Bench], make_side: Callable[..., Side]
) -> None:
    bench = make_bench(peers=(make_side("peer"),))
    report = run_bench(bench, smoke=True, repeat=1, all_peers=True)
    data = json.loads(to_json(report_as_data(report, MACHINE)))
    assert {"bench", "machine", "params", "results", "ratios", "check"} <= data.keys()
    assert data["bench"] == "good"
    assert data["machine"] == MACHINE
    assert data["params"] == {"size": 1, "scale": 4, "smoke": True, "repeat": 1}
    assert data["results"]["things_per_s"] == 40.0
    assert data["ratios"]["peer.things_per_s"] == 4.0
    assert data["check"] == report.ours.check
    assert data["peers"]["peer"]["status"] == "measured"


def test_an_absent_peer_stands_in_the_json_with_its_reason() -> None:
    report = report_of(measured("callboard"), SideReport("xoscar", "absent", {}, "not installed"))
    peer = report_as_data(report, MACHINE)["peers"]["xoscar"]
    assert (peer["status"], peer["reason"]) == ("absent", "not installed")


def test_figures_keep_six_significant_digits() -> None:
    data = report_as_data(
        report_of(measured("callboard", a_per_s=123456.789, b_ms=0.0123456789)), {}
    )
    assert data["results"] == {"a_per_s": 123457.0, "b_ms": 0.0123457}


def test_the_table_shows_every_side_and_its_status() -> None:
    report = report_of(
        measured("callboard", asks_per_s=300.0),
        measured("ray", asks_per_s=10.0),
        SideReport("xoscar", "absent", {}, "no module [xoscar] here"),
        SideReport("dask", "failed", {}, "it broke"),
    )
    output = io.StringIO()
    print_report(report, MACHINE, Console(file=output, width=100))
    text = output.getvalue()
    assert "30 x" in text
    assert "xoscar: absent: no module [xoscar] here" in text
    assert "dask: failed: it broke" in text


@pytest.mark.parametrize(
    ("ours", "peer", "code"),
    [
        ("measured", SideReport("xoscar", "absent", {}), 0),
        ("measured", SideReport("xoscar", "failed", {}), 0),
        ("measured", SideReport("ray_async_actor", "measured", {}), 0),
        ("measured", SideReport("ray_async_actor", "failed", {}), 1),
        ("failed", SideReport("xoscar", "measured", {}), 1),
        ("absent", SideReport("xoscar", "measured", {}), 1),
    ],
)
def test_the_exit_code_is_about_ours_and_the_peers_that_always_run(
    ours: str, peer: SideReport, code: int
) -> None:
    statuses = {
        "measured": SideReport("callboard", "measured", {}),
        "failed": SideReport("callboard", "failed", {}),
        "absent": SideReport("callboard", "absent", {}),
    }
    assert exit_code(report_of(statuses[ours], peer)) == code


def test_the_machine_is_described_without_saying_which_one() -> None:
    machine = describe_machine()
    assert {"cpu", "cores", "memory_gib", "os", "python", "ray"} <= machine.keys()
    assert machine["cores"]
    assert not any("/home" in str(value) or "/root" in str(value) for value in machine.values())


def test_list_names_all_benches() -> None:
    names = [bench["bench"] for bench in benches_as_data(BENCHES)]
    first_round = ["ask", "large", "tell_local", "spawn", "fanout", "failover"]
    hosts = ["supervise", "kills", "flap", "million", "api", "savina"]
    durable = ["state", "tiers", "durable", "resume", "append", "project"]
    durable += ["metrics_query", "pipeline"]
    measured = ["windows", "observe", "ingest", "hub", "page"]
    assert names == [*first_round, *hosts, *durable, "nodes", "scale", *measured]


def test_the_limits_of_a_side_are_in_the_json_and_in_the_table() -> None:
    cannot = {"sleeping_barber": "no chairs"}
    ray = SideReport("ray", "measured", {}, results={"big_messages_per_s": 5.0}, cannot=cannot)
    report = report_of(measured("callboard", big_messages_per_s=10.0), ray, bench="savina")
    assert report_as_data(report, MACHINE)["peers"]["ray"]["cannot"] == cannot
    output = io.StringIO()
    print_report(report, MACHINE, Console(file=output, width=100))
    assert "cannot do sleeping_barber: no chairs" in output.getvalue()
