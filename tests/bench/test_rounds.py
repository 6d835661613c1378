"""Whole runs of the harness with sides that behave, break, lie and hang."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import child
from bench.outcome import check_of
from bench.registry import Bench, Requirement, Side
from bench.rounds import REPOSITORY, Report, run_bench

MakeSide = Callable[..., Side]
MakeBench = Callable[..., Bench]

NO_MODULE = Requirement("module", "no_such_module_anywhere", "pip install it", "no-such")
NO_PROGRAM = Requirement("program", "no-such-program-anywhere", "install it")
GONE_WAIT_S = 10.0


def run(bench: Bench, *, repeat: int = 1, smoke: bool = False, all_peers: bool = True) -> Report:
    return run_bench(bench, smoke=smoke, repeat=repeat, all_peers=all_peers)


def living(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + GONE_WAIT_S
    while any(living(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still living: {pids}"
        time.sleep(0.02)


def test_ours_and_a_peer_are_measured_and_compared(
    make_bench: MakeBench, make_side: MakeSide
) -> None:
    report = run(make_bench(peers=(make_side("peer", scale=2),)))
    assert report.ours.results == {"things_per_s": 40.0, "wait_ms": 2.0, "things": 3.0}
    assert report.ratios == {"peer.things_per_s": 2.0, "peer.wait_ms": 2.0}
    assert report.ours.check == check_of(report.ours.params["size"])
    assert report.ours.notes == ("a note",)
    assert not report.failures


def test_sides_take_turns_in_every_round(make_bench: MakeBench, make_side: MakeSide) -> None:
    lines: list[str] = []
    bench = make_bench(peers=(make_side("one"), make_side("two")))
    report = run_bench(bench, smoke=True, repeat=2, all_peers=True, progress=lines.append)
    assert [line.rpartition(": ")[2] for line in lines] == ["callboard", "one", "two"] * 2
    assert len(report.ours.rounds) == 2


def test_smoke_runs_the_small_sizes(make_bench: MakeBench) -> None:
    assert run(make_bench(), smoke=True).ours.params["size"] == 1


def test_without_peers_only_those_run_that_always_do(
    make_bench: MakeBench, make_side: MakeSide
) -> None:
    peers = (make_side("always", always=True), make_side("on_request"))
    report = run(make_bench(peers=peers), all_peers=False)
    assert [peer.name for peer in report.peers] == ["always"]


@pytest.mark.parametrize("requirement", [NO_MODULE, NO_PROGRAM])
def test_a_peer_that_is_not_installed_is_reported_with_the_reason(
    make_bench: MakeBench, make_side: MakeSide, requirement: Requirement
) -> None:
    report = run(make_bench(peers=(make_side("peer", requires=(requirement,)),)))
    (peer,) = report.peers
    assert peer.status == "absent"
    assert requirement.name in peer.reason
    assert requirement.advice in peer.reason
    assert report.ratios == {}
    assert not report.failures


def test_a_peer_whose_module_does_not_exist_is_a_failure_with_its_error(
    make_bench: MakeBench, make_side: MakeSide
) -> None:
    report = run(make_bench(peers=(make_side("peer", module="no_such_module_anywhere"),)))
    (peer,) = report.peers
    assert peer.status == "failed"
    assert "no_such_module_anywhere" in peer.reason
    assert report.ours.status == "measured"


def test_a_crash_is_reported_with_the_end_of_its_traceback(make_bench: MakeBench) -> None:
    report = run(make_bench("crash"), repeat=3)
    assert report.ours.status == "failed"
    assert "the side broke" in report.ours.reason
    assert report.ratios == {}


def test_a_fast_side_with_a_wrong_output_is_refused(make_bench: MakeBench) -> None:
    report = run(make_bench("wrong"))
    assert report.ours.status == "failed"
    assert "wrong output" in report.ours.reason
    assert report.ours.results == {}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists processes by environment")
def test_a_timeout_kills_all_that_the_side_started(
    make_bench: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids_file = tmp_path / "pids"
    monkeypatch.setenv("FAKE_SIDE_PIDS", str(pids_file))
    report = run(make_bench("hang", timeout_s=3.0))
    assert report.ours.status == "failed"
    assert "killed" in report.ours.reason
    pids = [int(pid) for pid in pids_file.read_text().split()]
    assert len(pids) == 3
    assert not any(living(pid) for pid in pids)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists processes by environment")
def test_a_side_that_leaves_processes_behind_fails_and_they_are_killed(
    make_bench: MakeBench,
    make_side: MakeSide,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pids_file = tmp_path / "pids"
    monkeypatch.setenv("FAKE_SIDE_PIDS", str(pids_file))
    monkeypatch.setattr(child, "LEFTOVER_GRACE_S", 0.1)
    report = run(make_bench("hang", ours=make_side("callboard", size=0)))
    assert "2 processes behind" in report.ours.reason
    assert not any(living(int(pid)) for pid in pids_file.read_text().split())


@pytest.mark.skipif(sys.platform != "linux", reason="reads process states from /proc")
def written_pids(path: Path, count: int) -> list[int]:
    """The process ids in a file, once there are so many."""
    deadline = time.monotonic() + GONE_WAIT_S
    while not (path.exists() and len(path.read_text().split()) == count):
        assert time.monotonic() < deadline, "the side did not start"
        time.sleep(0.02)
    return [int(pid) for pid in path.read_text().split()]


def test_a_side_does_not_outlive_a_harness_that_is_killed(tmp_path: Path) -> None:
    """Kill -9 gives the harness no time to clean up: the side must see it by itself."""
    pids_file = tmp_path / "pids"
    code = (
        "import sys; from pathlib import Path; from bench.child import run_child;"
        "run_child((sys.executable, '-m', 'callboard_fake_side', 'hang', '--params',"
        " '{\"size\": 1}'), cwd=Path(), timeout_s=60)"
    )
    harness = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={**os.environ, "FAKE_SIDE_PIDS": str(pids_file), "TMPDIR": str(tmp_path)},
    )
    try:
        pids = written_pids(pids_file, 3)
    finally:
        harness.kill()
        harness.wait()
    side, same_group, own_session = pids
    try:
        wait_until_gone([side, same_group])
    finally:
        # That one left the group on purpose; only a living harness can find it.
        os.kill(own_session, signal.SIGKILL)


def test_a_number_of_rounds_out_of_range_is_refused(make_bench: MakeBench) -> None:
    with pytest.raises(ValueError):
        run(make_bench(), repeat=0)
