"""Ours and every installed peer run each of their figures at smoke size, output proven.

They cannot rot unseen: a release of a peer that renames a function fails here.
"""

import pytest

from bench.comparison import direction_of
from bench.registry import BENCHES, RAY, Bench, Side, missing
from bench.rounds import run_bench
from bench.savina.games import games_in

CASES = [
    pytest.param(
        bench,
        side,
        id=f"{bench.name}-{side.name}",
        marks=[pytest.mark.ray] if RAY in side.requires else [],
    )
    for bench in BENCHES
    for side in (bench.ours, *bench.peers)
]

FIGURES = {
    "ask": {"pipelined_per_s", "round_trip_p50_ms", "round_trip_p99_ms"},
    "tell_local": {"messages_per_s"},
    "spawn": {"actors_per_s", "bytes_per_actor"},
    "fanout": {"sub_tasks_per_s"},
    "failover": {"all_answering_ms_median", "all_answering_ms_worst"},
    "supervise": {"restart_ms_median", "restart_ms_p99"},
    "kills": {"back_at_90_percent_ms_median", "back_at_90_percent_ms_worst", "answers_per_s"},
    "flap": {"supervisor_ms_worst", "host_view_ms_worst", "sibling_ms_worst", "restarts_per_s"},
    "million": {"created_per_s", "answered_per_s", "bytes_per_actor"},
}
COUNTS = ("outcome_", "processes_", "descriptors_", "asks")
"""Figures that are counts: told, never compared."""


ONE_HOST_IS_ENOUGH = frozenset({"flap", "savina"})
"""What measures inside one host is proven without Ray: its start takes longer than the rest."""


@pytest.mark.parametrize(("bench", "side"), CASES)
def test_a_side_runs_and_its_output_is_right(
    bench: Bench, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    if bench.name in ONE_HOST_IS_ENOUGH and side is bench.ours:
        monkeypatch.setenv("CALLBOARD_ENGINE", "inline")
    reason = missing(side.requires)
    if reason is not None:
        pytest.skip(reason)
    # It stands in for ours, so that it is the only side that runs.
    alone = Bench(bench.name, bench.question, side, (), bench.expected_check)
    report = run_bench(alone, smoke=True, repeat=1, all_peers=False)
    assert report.ours.status == "measured", report.ours.reason
    figures = FIGURES.get(bench.name) or {game.figure for game in games_in(side.smoke)}
    assert report.ours.results.keys() >= figures
    compared = [figure for figure in report.ours.results if not figure.startswith(COUNTS)]
    assert all(direction_of(figure) is not None for figure in compared)
