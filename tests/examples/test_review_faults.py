"""What dies in the middle of a review: a host, and the report is the same; or all of it."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil
import pytest

from callboard.messages.control.views import CallboardView, QuerySystem
from callboard.runtime.admin.unix_socket import SYSTEM, admin_sockets, connect, process_of

from .review_runs import ROOT, command, make_tree, report_in, review

PACKAGES = ("asyncio", "email", "json")
"""Enough for some seconds of work."""

STOP_S = 5.0
"""Everything has to be gone so soon after Ctrl-C."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("tree"), PACKAGES)


@contextmanager
def reviewing(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A review under way, in a process group of its own; nothing of it outlives the test."""
    children: list[psutil.Process] = []
    with subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(psutil.NoSuchProcess):
                children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            for member in children:
                with suppress(psutil.NoSuchProcess):
                    member.kill()


def wait_for_results(stream: IO[str] | None) -> str:
    """The first line of progress: it comes with the first partial result."""
    assert stream is not None
    for line in stream:
        if "sub-tasks" in line:
            return line
    pytest.fail("the review ended without any progress")


def a_host_of(process: subprocess.Popen[str]) -> psutil.Process:
    """The process of one of the agents' hosts, not of a standby."""
    (socket,) = (path for path in admin_sockets(SYSTEM) if process_of(path) == process.pid)
    view = asyncio.run(_query(socket))
    return psutil.Process(next(host.pid for host in view.hosts if host.slot and host.pid))


async def _query(socket: Path) -> CallboardView:
    return await connect(socket).ask(QuerySystem(actors_max=0))


@pytest.mark.ray
@pytest.mark.soak
def test_after_the_kill_of_a_host_the_report_is_the_same(tree: Path, tmp_path: Path) -> None:
    expected = review(tree, "--out", tmp_path / "expected", "--sequential", "--json")
    assert expected.returncode == 0, expected.stderr
    with reviewing(tree, "--out", tmp_path / "out", "--hosts", "2") as process:
        wait_for_results(process.stderr)
        victim = a_host_of(process)
        victim.kill()
        out, errors = process.communicate(timeout=90)
        assert process.returncode == 0, errors
    assert not victim.is_running()
    assert "retries" in errors
    assert "report.html" in out
    assert report_in(tmp_path / "out") == report_in(tmp_path / "expected")


@pytest.mark.ray
@pytest.mark.soak
@pytest.mark.parametrize(
    "whole_group",
    [pytest.param(False, id="driver"), pytest.param(True, id="terminal")],
)
def test_ctrl_c_stops_everything_and_leaves_no_report(
    whole_group: bool, tree: Path, tmp_path: Path
) -> None:
    """Sent to the driver alone, and to its whole process group as a terminal does."""
    with reviewing(tree, "--out", tmp_path, "--hosts", "2") as process:
        wait_for_results(process.stderr)
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        sent_s = time.monotonic()
        if whole_group:
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        took_s = time.monotonic() - sent_s
        assert process.returncode == 130, errors
    assert took_s < STOP_S
    assert "interrupted" in errors
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(children, timeout=STOP_S - took_s)
    assert [member for member in alive if member.status() != psutil.STATUS_ZOMBIE] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", ["--sequential", "--engine=inline"])
def test_ctrl_c_without_other_processes(way: str, tree: Path, tmp_path: Path) -> None:
    with reviewing(tree, "--out", tmp_path, way) as process:
        assert process.stderr is not None
        assert process.stderr.readline()
        sent_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        took_s = time.monotonic() - sent_s
        assert process.returncode == 130, errors
    assert took_s < STOP_S
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
