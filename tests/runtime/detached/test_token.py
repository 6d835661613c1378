"""Drivers find the token that `ray start` has given to a cluster."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .cluster import running_cluster

DRIVER = """
import asyncio, os

import ray  # An earlier import of Ray must not matter.

import callboard

async def main():
    options = {"address": os.environ["CLUSTER"], "hosts": 1, "standbys": 0}
    async with callboard.start(**options) as system:
        print("hosts", system.living_hosts)

asyncio.run(main())
"""


MODE = """
import ray
from ray._raylet import AuthenticationMode, get_authentication_mode

from callboard.runtime.engines.ray.token_file import show_token

show_token(is_wanted=WANTED)
print("token" if get_authentication_mode() == AuthenticationMode.TOKEN else "none")
"""


def write_token(home: Path) -> None:
    token = home / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("5ca1ab1e" * 8)
    token.chmod(0o600)


@pytest.mark.parametrize("is_wanted", [True, False])
def test_rays_client_shows_its_token_to_a_cluster_that_wants_one(
    tmp_path: Path, *, is_wanted: bool
) -> None:
    write_token(tmp_path)
    named = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    inherited = {key: value for key, value in os.environ.items() if key not in named}
    ran = subprocess.run(
        [sys.executable, "-c", MODE.replace("WANTED", str(is_wanted))],
        env={**inherited, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60.0,
    )
    assert ran.stdout == ("token\n" if is_wanted else "none\n"), ran.stderr


@pytest.mark.soak
@pytest.mark.parametrize("has_token", [True, False])
def test_a_driver_needs_no_setting_of_its_own(tmp_path: Path, *, has_token: bool) -> None:
    if has_token:
        write_token(tmp_path)
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
