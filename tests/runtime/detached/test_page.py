"""The example of docs/detached.md runs on a cluster, and the tests that the page names exist."""

import re
from pathlib import Path

import pytest

from .cluster import Cluster

PAGE = Path("docs/detached.md")


@pytest.mark.ray
@pytest.mark.timeout(120)
def test_example_runs(root: Path, cluster: Cluster) -> None:
    text = (root / PAGE).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    said = cluster.said(
        "\n".join(blocks)
        + """

asyncio.run(first_driver(ADDRESS))
say(total=asyncio.run(second_driver(ADDRESS)))
"""
    )
    assert said["total"] == 101
    assert cluster.callboard("down", "bank").returncode == 0


def test_named_tests_exist(root: Path) -> None:
    services = root / "tests/runtime/executions/service"
    folders = Path(__file__).parent, root / "tests/simulation", services
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (root / PAGE).read_text(encoding="utf-8"))
    assert len(named) >= 7
    for file, test in named:
        (found,) = (folder / file for folder in folders if (folder / file).exists())
        assert f"def {test}(" in found.read_text(encoding="utf-8"), f"{file}::{test}"
