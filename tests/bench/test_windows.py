"""The bench of windows: its errors are within the promise, and real series change nothing."""

import gzip
import random
from pathlib import Path

import pytest

from bench.ours.windows import run
from bench.registry import bench_named
from bench.windows import read_series

WINDOWS = bench_named("windows")


def write_series(folder: Path) -> None:
    """Two series of a day, one of them compressed."""
    rng = random.Random(1)
    lines = ["timestamp,value"]
    for minute in range(0, 1_440, 5):
        clock = f"2014-02-14 {minute // 60:02d}:{minute % 60:02d}:00"
        lines.append(f"{clock},{rng.lognormvariate(3, 1):.3f}")
    text = "\n".join(lines) + "\n"
    (folder / "deeper").mkdir()
    (folder / "cpu.csv").write_text(text)
    with gzip.open(folder / "deeper" / "network.csv.gz", "wt") as file:
        file.write(text)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    folder = tmp_path_factory.mktemp("series")
    write_series(folder)
    bench = WINDOWS.on_data(str(folder))
    return dict(run(bench.ours.smoke).results)


def test_quantiles_are_within_the_promise_in_every_tier(results: dict[str, float]) -> None:
    errors = {name: value for name, value in results.items() if name.startswith("error_")}
    assert len(errors) == 8
    assert max(errors.values()) <= 0.01


def test_real_series_are_compared(results: dict[str, float]) -> None:
    assert results["count_data_points"] == 2 * 288
    assert results["count_data_windows"] == 2 * (288 + 288 + 24 + 1)


def test_series_are_read_from_a_folder_in_order(tmp_path: Path) -> None:
    write_series(tmp_path)
    (name, first), (other, _) = read_series(tmp_path)
    assert (name, other) == ("cpu.csv", "deeper/network.csv.gz")
    assert len(first.values) == 288
    assert (first.times_ns[1:] > first.times_ns[:-1]).all()
