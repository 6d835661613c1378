"""Ours and every installed peer run each of their figures at smoke size, output proven.

They cannot rot unseen: a release of a peer that renames a function fails here.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest

from bench.comparison import direction_of
from bench.peers.ray_local import ADDRESS_ENV
from bench.registry import BENCHES, RAY, Bench, Side, missing
from bench.rounds import run_bench
from bench.savina.games import games_in

from ..runtime.detached.cluster import Cluster, running_cluster

ONE_PROCESS_IS_ENOUGH = frozenset(
    {"fanout", "flap", "million", "savina", "scale", "spawn", "state", "durable", "resume"}
    | {"append", "metrics_query", "observe", "pipeline", "project", "tell_local", "tiers"}
    | {"api", "windows", "hub", "config"}
)
"""Of ours, what needs no process to be killed and no second one to talk to: it runs without
Ray, whose start takes longer than all the rest."""
RAY_OF_ITS_OWN = frozenset(
    {
        *(("ask", side) for side in ("callboard", "ray_async_actor")),
        *(("nodes", side) for side in ("callboard", "ray_async_actor", "ray_tasks")),
    }
)
"""They start Ray themselves, as all sides do when they are measured; the others share one."""


OF_RAY = frozenset({("ask", "ray_async_actor"), ("fanout", "ray_tasks"), ("savina", "ray")})
"""The peers on Ray of which `make test` is to know: one of each kind. All run in `make soak`."""

LONG: Final = frozenset({"nodes"})
"""Ours that take twenty seconds even at their smoke sizes; `make soak` runs them."""


def is_inline(bench: Bench, side: Side) -> bool:
    return side is bench.ours and bench.name in ONE_PROCESS_IS_ENOUGH


def case(bench: Bench, side: Side, name: str) -> Any:
    marks = []
    if RAY in side.requires and not is_inline(bench, side):
        marks.append(pytest.mark.ray)
        is_ours = side is bench.ours and bench.name not in LONG
        if not is_ours and (bench.name, side.name) not in OF_RAY:
            marks.append(pytest.mark.soak)
    return pytest.param(bench, side, id=f"{bench.name}-{name}", marks=marks)


CASES = [
    *(case(bench, side, side.name) for bench in BENCHES for side in (bench.ours, *bench.peers)),
    *(
        case(on_postgres, on_postgres.ours, "on_postgres")
        for on_postgres in (
            bench.on_store("postgres") for bench in BENCHES if "postgres" in bench.stores
        )
    ),
]

FIGURES = {
    "ask": {"pipelined_per_s", "round_trip_p50_ms", "round_trip_p99_ms"},
    "large": {"values_60kb_mb_per_s", "small_alone_p50_ms", "small_during_1mb_p50_ms"},
    "tell_local": {"messages_per_s"},
    "spawn": {"actors_per_s", "bytes_per_actor"},
    "fanout": {"sub_tasks_per_s"},
    "failover": {"all_answering_ms_median", "all_answering_ms_worst"},
    "supervise": {"restart_ms_median", "restart_ms_p99"},
    "kills": {"back_at_90_percent_ms_median", "back_at_90_percent_ms_worst", "asks"},
    "flap": {"supervisor_ms_worst", "host_view_ms_worst", "sibling_ms_worst", "restarts_per_s"},
    "state": {"synchronise_warm_ms", "synchronise_cold_ms", "persisted_in_groups_per_s"},
    "tiers": {"bytes_per_point", "moved_windows_per_s", "one_series_30_days_p50_ms"},
    "durable": {"sub_tasks_per_s"},
    "resume": {"resume_s", "run_again"},
    "append": {"append_p50_ms", "append_p99_ms", "events_per_s", "batched_events_per_s"},
    "project": {"events_per_s", "rebuild_per_s"},
    "metrics_query": {"one_series_p50_ms", "top_10_p50_ms"},
    "pipeline": {"stage_us"},
    "nodes": {
        *("within_pipelined_per_s", "between_round_trip_p99_ms", "between_values_16mb_mb_per_s"),
        *("between_over_within_pipelined", "sub_tasks_per_s"),
    },
    "scale": {
        *("root_6_bytes", "join_root_6_us", "count_adopt_calls_6", "count_resize_root_bytes_6"),
        *("exponent_count_join_root_messages", "route_keyed_first_6_ms"),
    },
    "windows": {"points_per_s"},
    "api": {"first_page_p50_ms", "large_page_bytes", "listed_per_s", "system_p50_ms"},
    "million": {"created_per_s", "answered_per_s", "bytes_per_actor"},
}
COUNTS = (
    *("outcome_", "processes_", "descriptors_", "asks", "answers_each_second"),
    *("count_", "exponent_", "slowdown", "journal_", "run_again", "append_p50_over_fsync"),
    *("between_over_within", "error_"),
)
"""Figures that are counts, or ratios of our own figures: no verdict compares them with others."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One Ray for the sides that may share it."""
    with running_cluster() as started:
        yield started


@pytest.fixture
def root_environment(
    bench: Bench,
    side: Side,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The engine and the cluster that a side finds."""
    if is_inline(bench, side):
        monkeypatch.setenv("CALLBOARD_ENGINE", "inline")
    elif RAY in side.requires and (bench.name, side.name) not in RAY_OF_ITS_OWN:
        shared: Cluster = request.getfixturevalue("cluster")
        monkeypatch.setenv("RAY_AUTH_MODE", shared.environment["RAY_AUTH_MODE"])
        monkeypatch.setenv("CALLBOARD_ADDRESS", shared.address)
        monkeypatch.setenv(ADDRESS_ENV, shared.address)


@pytest.mark.usefixtures("root_environment")
@pytest.mark.parametrize(("bench", "side"), CASES)
def test_a_side_runs_and_its_output_is_right(bench: Bench, side: Side) -> None:
    reason = missing(side.requires)
    if reason is not None:
        pytest.skip(reason)
    # It stands in for ours, so that it is the only side that runs.
    alone = replace(bench, ours=side, peers=(), timeout_s=180.0)
    report = run_bench(alone, smoke=True, repeat=1, all_peers=False)
    assert report.ours.status == "measured", report.ours.reason
    figures = FIGURES.get(bench.name) or {game.figure for game in games_in(side.smoke)}
    assert report.ours.results.keys() >= figures
    compared = [figure for figure in report.ours.results if not figure.startswith(COUNTS)]
    assert all(direction_of(figure) is not None for figure in compared)
