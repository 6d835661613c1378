"""Drivers that cannot join their cluster are informed at once, each in a process of its own."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import psutil
import pytest

from callboard.runtime.doctor.leftovers import find_strays, processes_of, seen_processes

from .cluster import running_cluster
from .test_token import write_token

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]
AT_ONCE_S: Final = 15.0
"""Far below what Ray's client waits, and enough for a loaded machine; an idle one needs 0.1 s."""

TRY = """
import asyncio, json, sys, time

import callboard
from callboard.runtime.engines.ray import cluster_probe, engine  # Their import is not the wait.

async def main(address):
    began = time.monotonic()
    try:
        async with callboard.start(address=address, hosts=1, standbys=0) as system:
            said = {"living": system.living_hosts}
    except callboard.CallboardError as error:
        said = {"type": type(error).__name__, "text": str(error), **error.details}
    print(json.dumps({**said, "took_s": time.monotonic() - began}), flush=True)

for address in sys.argv[1:]:
    asyncio.run(main(address))
"""
COMMAND: Final = "from callboard.runtime.cli.main import main; main()"
OWN_PROCESSES: Final = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")
"""A process space of its own, as a container has: the driver sees no daemon of the cluster."""


def started(
    environment: Mapping[str, str], *addresses: str, within: Sequence[str] = ()
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*within, sys.executable, "-c", TRY, *addresses],
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def heard(driver: "subprocess.Popen[str]") -> list[dict[str, Any]]:
    out, errors = driver.communicate(timeout=90.0)
    said = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert said, errors
    for each in said:
        assert "living" in each or each["took_s"] < AT_ONCE_S, each
    return said


def only(driver: "subprocess.Popen[str]") -> dict[str, Any]:
    (said,) = heard(driver)
    return said


def without_token(environment: Mapping[str, str], home: pathlib.Path) -> dict[str, str]:
    home.mkdir()
    return {**environment, "HOME": str(home)}


@pytest.mark.soak
def test_a_wrong_place_or_token_is_reported_at_once(tmp_path: pathlib.Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    write_token(home)
    with running_cluster(home=home) as cluster, socket.create_server(("127.0.0.1", 0)) as silent:
        here, at = cluster.environment, cluster.address
        nobody = without_token(here, tmp_path / "nobody")
        silent_at = f"127.0.0.1:{silent.getsockname()[1]}"
        drivers = {
            "missing": started(nobody, at),
            "demanded": started({**nobody, "RAY_AUTH_MODE": "token"}, at),
            "wrong": started({**here, "RAY_AUTH_TOKEN": "b" * 64}, at),
            "disabled": started({**here, "RAY_AUTH_MODE": "disabled"}, at),
            "places": started(here, "ray://127.0.0.1:10001", silent_at, "nosuch.invalid:6379"),
        }
        said = {name: heard(driver) for name, driver in drivers.items()}
        for name in ("missing", "demanded"):
            assert "wants a token, and there is none here" in said[name][0]["text"], said
        assert "refuses the one that is here" in said["wrong"][0]["text"], said
        assert "RAY_AUTH_MODE=disabled is set here" in said["disabled"][0]["text"], said
        client, nothing, unknown = said["places"]
        assert (client["type"], client["field"]) == ("SpecError", "address"), said
        assert "Ray Client" in client["text"], said
        assert "no cluster answers at " in nothing["text"], said
        assert "no cluster answers at nosuch.invalid:6379" in unknown["text"], said
        for name in ("missing", "demanded", "wrong", "disabled"):
            assert said[name][0]["type"] == "ClusterUnreachable", said
            assert said[name][0]["address"].endswith(at.rpartition(":")[2]), said


@pytest.mark.soak
def test_a_driver_that_sees_no_node_of_its_cluster_is_informed_of_the_nodes() -> None:
    if (
        not shutil.which("unshare")
        or subprocess.run([*OWN_PROCESSES, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("this user cannot make process spaces here")
    with running_cluster() as cluster:
        insists = {**cluster.environment, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "b" * 64}
        open_cluster = started(insists, cluster.address)
        inside = started(cluster.environment, cluster.address, within=OWN_PROCESSES)
        assert "has no token" in only(open_cluster)["text"]
        said = only(inside)
        assert said["type"] == "ClusterUnreachable", said
        assert "none of the cluster at " in said["text"], said
        assert socket.gethostname() in said["text"], said
        listed = subprocess.run(
            [
                *OWN_PROCESSES,
                sys.executable,
                "-c",
                COMMAND,
                "down",
                "--address",
                cluster.address,
            ],
            env=cluster.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60.0,
        )
        assert listed.returncode == 3, listed
        assert "none of the cluster at " in " ".join(listed.stderr.split()), listed


def test_auto_without_a_cluster_is_reported_at_once(tmp_path: pathlib.Path) -> None:
    if (
        not shutil.which("unshare")
        or subprocess.run([*OWN_PROCESSES, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("this user cannot make process spaces here, and other Rays may run")
    alone = {**os.environ, "RAY_TMPDIR": str(tmp_path)}
    alone.pop("RAY_ADDRESS", None)
    said = only(started(alone, "auto", within=OWN_PROCESSES))
    assert said["type"] == "ClusterUnreachable", said
    assert "no Ray cluster runs on this machine" in said["text"], said


@contextlib.contextmanager
def head_without_a_parent() -> Iterator[tuple[str, int, int]]:
    """`ray start --head` as an operator calls it: the daemons are nobody's children."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="cb-", dir="/tmp"))  # Socket paths are short.
    with socket.socket() as free, socket.socket() as other:
        free.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        port, client_port = free.getsockname()[1], other.getsockname()[1]
    options = (
        f"--head --port={port} --node-ip-address=127.0.0.1 --num-cpus=1 --temp-dir={folder} "
        f"--include-dashboard=false --ray-client-server-port={client_port} "
        "--object-store-memory=100000000"
    )
    subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", "start", *options.split()],
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"},
        check=True,
        capture_output=True,
        timeout=90.0,
    )
    try:
        yield f"127.0.0.1:{port}", port, client_port
    finally:
        mine = []
        for pid in processes_of(seen_processes(), {str(folder)}):
            with contextlib.suppress(psutil.NoSuchProcess):
                mine.append(psutil.Process(pid))
        for process in mine:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(mine, timeout=20.0)
        shutil.rmtree(folder, ignore_errors=True)


CHECKS = """
import json, sys

from callboard.runtime.cli.doctor import run_checks

ports = {int(port): "the head" for port in sys.argv[2:]}
found = run_checks(address=sys.argv[1], ports=ports)
print(json.dumps({check.name: check.to_data() for check in found}))
"""


@pytest.mark.soak
def test_the_doctor_is_silent_about_what_belongs_to_the_cluster() -> None:
    with head_without_a_parent() as (address, port, client_port):
        ran = subprocess.run(
            [sys.executable, "-c", CHECKS, address, str(port), str(client_port)],
            env={**os.environ, "RAY_AUTH_MODE": "disabled"},
            capture_output=True,
            text=True,
            check=False,
            timeout=90.0,
        )
        found = json.loads(ran.stdout.splitlines()[-1])
        assert found["address"]["status"] == "ok", found
        assert "1 node, here " in found["address"]["found"], found
        assert found["detached systems"]["status"] == "ok", found
        for each in (port, client_port):
            assert "in use by the cluster" in found[f"port {each}"]["found"], found
            assert found[f"port {each}"]["status"] == "ok", found
        mine = processes_of(seen_processes(), {address.rpartition(":")[2]})
        strays = {stray.pid for stray in find_strays(seen_processes())}
        shown = found["stray processes"]["found"]
        assert not [pid for pid in mine & strays if f"{pid} " in shown], found
