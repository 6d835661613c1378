"""The programs of docs/service.md, each in a process of its own, on a cluster."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from .cluster import Cluster

PAGE: Final = Path("docs/service.md")
FILES: Final = re.compile(r'^```python title="(\w+\.py)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@pytest.mark.ray
@pytest.mark.timeout(180)
@pytest.mark.soak
def test_service_and_client_run_as_two_programs(
    root: Path, cluster: Cluster, tmp_path: Path
) -> None:
    files = dict(FILES.findall((root / PAGE).read_text(encoding="utf-8")))
    assert set(files) == {"service.py", "client.py", "stranger.py"}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")

    def said_by(program: str) -> str:
        ran = subprocess.run(
            [sys.executable, program, cluster.address],
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=cluster.environment,
            timeout=120,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    try:
        assert said_by("service.py") == "the bank is open\n"
        assert said_by("client.py") == "the balance is 750 cents\n"
        refused = said_by("stranger.py")
        assert "no actor offers stranger.Deposit; service.Deposit is offered" in refused
        tree = " ".join(cluster.callboard("tree", "--name", "bank").stdout.split())
        assert "1 undecodable" in tree, tree
        assert "no contract 'stranger.Deposit' is known here; service.Deposit is known" in tree
    finally:
        cluster.callboard("down", "bank")
