"""`python -m bench` as a user runs it: what is printed where, and the exit code."""

import json
import subprocess
import sys

import pytest

from bench.registry import BENCHES, bench_named, missing
from bench.rounds import REPOSITORY


def run_bench_command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_list_as_json() -> None:
    ran = run_bench_command("list", "--json")
    assert ran.returncode == 0
    assert [entry["bench"] for entry in json.loads(ran.stdout)] == [bench.name for bench in BENCHES]


def test_list_as_a_table_names_every_bench() -> None:
    ran = run_bench_command("list")
    assert ran.returncode == 0
    assert all(bench.name in ran.stdout for bench in BENCHES)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("no_such_bench",),
        ("ask", "--repeat", "0"),
        ("ask", "--no-such-option"),
        ("ask", "--only", "big"),
        ("ask", "--table"),
        ("ask", "--store", "postgres"),
        ("ask", "--address", "127.0.0.1:6379"),
        ("ask", "--data", "."),
        ("append", "--store", "oracle"),
        ("savina", "--only", "no_such_game"),
        ("savina", "--table", "--smoke"),
        ("savina", "--table", "--only", "big"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    ran = run_bench_command(*arguments)
    assert ran.returncode == 2
    assert not ran.stdout


@pytest.mark.parametrize(
    "name", ["ask", "tell_local", "spawn", "fanout", "failover", "supervise", "nodes"]
)
def test_ray_is_among_the_peers_that_always_run(name: str) -> None:
    peers = bench_named(name).peers
    assert any(peer.name.startswith("ray_") and peer.always for peer in peers)


def test_nothing_is_missing_where_nothing_is_required() -> None:
    assert missing(()) is None
