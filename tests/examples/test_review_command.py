"""The command line: the same report in every way, and a clear word and code for bad input."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from callboard.runtime.api.run import run
from callboard.runtime.api.system import System
from examples.review.agents import SPECIALISTS
from examples.review.orchestrator import review_job, review_request
from examples.review.report import Report, render_json
from examples.review.tree import scan_tree

from .review_runs import BAD_FILES, make_tree, report_in, review

Done = subprocess.CompletedProcess[str]

FINDINGS_OF_BAD_FILES = {
    "bad/broken.py": "unparsable",
    "bad/latin.py": "unparsable",
    "bad/cookie.py": "unparsable",
    "bad/nul.py": "unparsable",
    "bad/deep.py": "too-deep",
    "bad/large.py": "too-large",
    "bad/dangling.py": "unreadable",
    "bad/folder.py": "unreadable",
    "bad/pipe.py": "unreadable",
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("tree"), ("json", "wsgiref"))


@pytest.fixture(scope="module")
def sequential(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, bytes]:
    """How the plain loop has ended, and its report."""
    folder = tmp_path_factory.mktemp("sequential")
    done = review(tree, "--out", folder, "--sequential", "--json")
    assert done.returncode == 0, done.stderr
    return done, report_in(folder)


@pytest.fixture(scope="module")
def expected(sequential: tuple[Done, bytes]) -> bytes:
    """The report of the plain loop."""
    return sequential[1]


@pytest.fixture
def silent_address() -> Iterator[str]:
    """A port where somebody listens and never says a word."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def closed_address() -> str:
    """A port on which no process listens."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_file_that_cannot_be_read_or_parsed_is_a_finding(expected: bytes) -> None:
    topics = {(row["path"], row["topic"]) for row in json.loads(expected)["findings"]}
    assert topics >= set(FINDINGS_OF_BAD_FILES.items())
    assert BAD_FILES.keys() & FINDINGS_OF_BAD_FILES.keys()


def test_the_inline_engine_has_the_report_of_the_plain_loop(
    tree: Path, expected: bytes, tmp_path: Path
) -> None:
    done = review(tree, "--out", tmp_path, "--engine", "inline", "--hosts", "1")
    assert done.returncode == 0, done.stderr
    assert report_in(tmp_path) == expected
    assert "sub-tasks" in done.stderr
    assert str(tmp_path / "report.sarif") in done.stdout


def test_several_inline_hosts_have_the_same_report_and_one_line_of_json_sums_it_up(
    tree: Path, expected: bytes, tmp_path: Path
) -> None:
    done = review(tree, "--out", tmp_path, "--engine", "inline", "--hosts", "3", "--json")
    assert done.returncode == 0, done.stderr
    assert report_in(tmp_path) == expected
    check_summary(done, expected)


def test_one_line_of_json_sums_up_the_plain_loop(sequential: tuple[Done, bytes]) -> None:
    check_summary(*sequential)


def check_summary(done: Done, report: bytes) -> None:
    (line,) = done.stdout.splitlines()
    summary = json.loads(line)
    assert summary["findings"] == len(json.loads(report)["findings"])
    assert summary["timings"]["total_s"] > 0
    assert done.stderr == ""


@pytest.mark.ray
@pytest.mark.soak
@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_ray_hosts_have_the_report_of_the_plain_loop(
    hosts: int, tree: Path, expected: bytes, tmp_path: Path
) -> None:
    done = review(tree, "--out", tmp_path, "--hosts", str(hosts))
    assert done.returncode == 0, done.stderr
    assert report_in(tmp_path) == expected


def test_a_plan_that_grows_with_every_file_leads_to_the_same_report(
    tree: Path, expected: bytes, tmp_path: Path
) -> None:
    """Agents without any time answer file by file, and each rest is a new sub-task."""
    scanned = scan_tree(tree)

    async def main(system: System) -> tuple[Report, int, int]:
        for name, agent in SPECIALISTS.items():
            await system.pool(agent, size=1, name=name)
        job = review_job(scanned, tmp_path, dict)
        handle = system.submit(job, review_request(scanned, slice_s=0.0))
        report = await handle.result()
        return report, handle.state().metrics.sub_tasks, len(list(tmp_path.iterdir()))

    report, sub_tasks, delivered = run(main, engine="inline", hosts=1, standbys=0)
    files = len(scanned.paths)
    # Ruff takes a whole batch at once.
    assert sub_tasks >= files * (len(SPECIALISTS) - 1)
    assert delivered == 3
    assert report_in(tmp_path) == expected
    assert json.loads(render_json(report))["findings"] == json.loads(expected)["findings"]


@pytest.mark.parametrize("way", ["--sequential", "--engine=inline"])
def test_an_empty_tree_has_no_findings(way: str, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    done = review(tmp_path / "tree", "--out", tmp_path / "out", way)
    assert done.returncode == 0, done.stderr
    report = json.loads(report_in(tmp_path / "out"))
    assert report["findings"] == []
    assert "no file" in report["notes"][0]


def test_a_missing_path_is_bad_input_and_leaves_nothing(tmp_path: Path) -> None:
    done = review(tmp_path / "gone", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "gone" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_tree_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    done = review(tmp_path / "a.py", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "is a file" in done.stderr


@pytest.mark.parametrize("way", ["--sequential", "--engine=ray"])
def test_an_output_folder_that_cannot_be_written_is_refused_before_anything_starts(
    way: str, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("a file")
    started_s = time.monotonic()
    done = review(tree, "--out", tmp_path / "out", way)
    assert done.returncode == 2
    assert "cannot write" in done.stderr
    assert time.monotonic() - started_s < 10
    assert (tmp_path / "out").read_text() == "a file"


@pytest.mark.skipif(not Path("/proc/sys").is_dir(), reason="needs a file system that is read-only")
def test_a_read_only_output_folder_is_refused(tree: Path) -> None:
    done = review(tree, "--out", "/proc/sys/out")
    assert done.returncode == 2
    assert "cannot write" in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--hosts", "0"),
        ("--hosts", "many"),
        ("--engine", "none"),
        ("--sequential", "--hosts", "2"),
        ("--engine", "inline", "--address", "127.0.0.1:1"),
        ("--unheard-of",),
    ],
)
def test_wrong_options_are_wrong_use(options: tuple[str, ...], tree: Path, tmp_path: Path) -> None:
    done = review(tree, "--out", tmp_path / "out", *options)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()


@pytest.mark.ray
@pytest.mark.parametrize(
    "address", ["closed_address", pytest.param("silent_address", marks=pytest.mark.soak)]
)
def test_a_silent_cluster_is_an_error_within_ten_seconds(
    address: str, request: pytest.FixtureRequest, tree: Path, tmp_path: Path
) -> None:
    where: str = request.getfixturevalue(address)
    started_s = time.monotonic()
    done = review(tree, "--out", tmp_path, "--address", where)
    assert done.returncode == 3, done.stderr
    assert time.monotonic() - started_s < 10
    assert where in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
