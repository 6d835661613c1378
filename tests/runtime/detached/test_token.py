"""A cluster that was given a token by `ray start` alone: drivers find it where Ray does."""

import subprocess
import sys
from pathlib import Path

import pytest

from .cluster import running_cluster

DRIVER = """
import asyncio, os

import ray  # What has imported Ray before must not matter.

import callboard

async def main():
    options = {"address": os.environ["CLUSTER"], "hosts": 1, "understudies": 0}
    async with callboard.start(**options) as system:
        print("hosts", len(system.root.table.slots))

asyncio.run(main())
"""


@pytest.mark.parametrize("has_token", [True, pytest.param(False, marks=pytest.mark.soak)])
def test_a_driver_needs_no_setting_of_its_own(tmp_path: Path, *, has_token: bool) -> None:
    if has_token:
        token = tmp_path / ".ray" / "auth_token"
        token.parent.mkdir()
        token.write_text("5ca1ab1e" * 8)
        token.chmod(0o600)
    with running_cluster(home=tmp_path) as cluster:
        ran = subprocess.run(
            [sys.executable, "-c", DRIVER],
            env=cluster.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60.0,
        )
    assert ran.stdout == "hosts 1\n", ran.stderr
