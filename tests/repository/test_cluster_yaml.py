"""`cluster.yaml` against Ray's own schema and code, and against what Callboard asks of a cluster.

Nothing here reaches a network: the launcher's preparation of a local cluster is plain code.
"""

import configparser
import json
import re
import subprocess
import tomllib
from copy import deepcopy
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from callboard.runtime.control_plane.authority import WAIT_S
from callboard.runtime.hosting.settings import Settings
from callboard.runtime.transport.tcp import ports_of

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "cluster.yaml").read_text(encoding="utf-8")
DOCUMENTATION: Final = ip_network("192.0.2.0/24")
ROOT_STARTS_S: Final = 2.0
"""The start of a root on a machine with two cores; see docs/detached.md."""
RAYS_OWN_S: Final = 5 * (3.0 + 10.0)
SHELL_LISTS: Final = ("head_start_ray_commands", "worker_start_ray_commands")

Config = dict[str, Any]


@pytest.fixture
def config() -> Config:
    loaded: Config = yaml.safe_load(TEXT)
    return loaded


@pytest.fixture(scope="module")
def schema() -> Config:
    import ray.autoscaler

    assert ray.autoscaler.__file__
    path = Path(ray.autoscaler.__file__).with_name("ray-schema.json")
    loaded: Config = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def options(command: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+)=(\S+)", command))


def test_it_keeps_rays_schema(config: Config, schema: Config) -> None:
    jsonschema.validate(config, schema)


def test_the_schema_would_notice_a_field_that_ray_does_not_know(
    config: Config, schema: Config
) -> None:
    config["head_comands"] = []
    with pytest.raises(jsonschema.ValidationError, match="head_comands"):
        jsonschema.validate(config, schema)


def test_rays_launcher_prepares_and_accepts_it(config: Config) -> None:
    from ray.autoscaler._private.local.config import LOCAL_CLUSTER_NODE_TYPE, bootstrap_local
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(deepcopy(config))
    validate_config(prepared)
    validate_config(bootstrap_local(prepared))
    node = prepared["available_node_types"][LOCAL_CLUSTER_NODE_TYPE]
    workers = len(config["provider"]["worker_ips"])
    assert (node["min_workers"], node["max_workers"]) == (workers, workers)
    # The defaults of Ray's local provider must not have replaced what this file says.
    for name in SHELL_LISTS:
        assert prepared[name] == config[name]


def test_its_addresses_reach_nothing_until_they_are_changed(config: Config) -> None:
    provider = config["provider"]
    assert provider["type"] == "local"
    addresses = [provider["head_ip"], *provider["worker_ips"]]
    assert len(set(addresses)) == len(addresses)
    assert all(ip_address(address) in DOCUMENTATION for address in addresses)


def test_every_start_command_sets_token_authentication(config: Config) -> None:
    for name in SHELL_LISTS:
        for command in config[name]:
            assert command.startswith("export RAY_AUTH_MODE=token;"), f"{name}: {command}"


def test_the_token_is_copied_to_every_node_and_looked_at_first(config: Config) -> None:
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "~/.ray/auth_token" in config["initialization_commands"][0]


def test_no_token_stands_in_it() -> None:
    assert "RAY_AUTH_TOKEN=" not in TEXT


def test_every_node_installs_the_mounted_package(config: Config) -> None:
    installs = [command for command in config["setup_commands"] if "pip install" in command]
    (mounted,) = [remote for remote, local in config["file_mounts"].items() if local == "dist"]
    assert installs
    assert all(f"{mounted}/callboard-*.whl" in command for command in installs)


def test_the_ray_it_installs_is_in_the_range_of_the_package(config: Config) -> None:
    pinned = re.search(r'"ray\[default\]==(\d+)\.(\d+)', "\n".join(config["setup_commands"]))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (wanted,) = [entry for entry in project["dependencies"] if entry.startswith("ray[")]
    low, high = re.fullmatch(r"ray\[default\]>=(\d+\.\d+),<(\d+)", wanted).groups()  # type: ignore[union-attr]
    assert pinned
    assert tuple(map(int, low.split("."))) <= tuple(map(int, pinned.groups())) < (int(high),)


def test_every_machine_of_the_list_is_used(config: Config) -> None:
    """Version 2 of the autoscaler takes a head of the local provider for a worker.

    `ray up` turns it on by what it puts before the head's commands; what the command itself says
    comes later, and counts.
    """
    from ray.autoscaler._private.util import with_envs

    start = with_envs(config["head_start_ray_commands"], {"RAY_enable_autoscaler_v2": "1"})[-1]
    said = re.findall(r"RAY_enable_autoscaler_v2=(\S+?);", start)
    assert said[-1] == "0"
    assert start.rindex("RAY_enable_autoscaler_v2") < start.index("ray start")


def test_a_root_of_a_lost_node_is_back_before_the_leases_of_its_hosts_end(config: Config) -> None:
    """Its first two heartbeats renew them."""
    start = config["head_start_ray_commands"][-1]
    said = {name: int(value) for name, value in re.findall(r"RAY_health_check_(\w+)=(\d+);", start)}
    silent_s = said["failure_threshold"] * (said["period_ms"] + said["timeout_ms"]) / 1000
    settings = Settings()
    back_s = silent_s + ROOT_STARTS_S + WAIT_S + 2 * settings.heartbeat_s
    assert back_s < settings.lease_s
    assert 15.0 <= silent_s < RAYS_OWN_S  # A node that is busy for so long is rare.


def test_without_a_wheelhouse_pip_asks_its_index_and_with_one_it_does_not(
    config: Config, tmp_path: Path
) -> None:
    (command,) = [line for line in config["setup_commands"] if "pip.conf" in line]
    (tmp_path / "callboard-venv").mkdir()
    written = tmp_path / "callboard-venv" / "pip.conf"

    def run() -> str:
        subprocess.run(["bash", "-ec", command], check=True, env={"HOME": str(tmp_path)})
        return written.read_text(encoding="utf-8")

    assert run() == ""
    (tmp_path / "callboard-wheelhouse").mkdir()
    said = configparser.ConfigParser()
    said.read_string(run())
    assert dict(said["global"]) == {
        "no-index": "true",
        "find-links": str(tmp_path / "callboard-wheelhouse"),
    }
    (tmp_path / "callboard-wheelhouse").rmdir()
    assert run() == ""


def test_workers_join_at_the_port_that_the_head_opens(config: Config) -> None:
    head = options(config["head_start_ray_commands"][-1])
    worker = options(config["worker_start_ray_commands"][-1])
    assert worker["address"] == f'"$RAY_HEAD_IP:{head["port"]}"'


@pytest.mark.parametrize("name", SHELL_LISTS)
def test_no_port_is_given_twice_or_lies_among_the_workers(config: Config, name: str) -> None:
    given = options(config[name][-1])
    ports = {key: int(value) for key, value in given.items() if key.endswith("port")}
    low, high = ports.pop("min-worker-port"), ports.pop("max-worker-port")
    assert len(set(ports.values())) == len(ports)
    assert low < high
    assert not [port for port in ports.values() if low <= port <= high]


@pytest.mark.parametrize("name", SHELL_LISTS)
def test_the_ports_for_frames_are_none_of_rays(config: Config, name: str) -> None:
    text = "\n".join(config["setup_commands"])
    (named,) = re.findall(r"CALLBOARD_FRAME_PORTS=([\d-]+)", text)
    frames = ports_of(named)
    given = options(config[name][-1])
    ports = {key: int(value) for key, value in given.items() if key.endswith("port")}
    ray_has = {*range(ports["min-worker-port"], ports["max-worker-port"] + 1), *ports.values()}
    assert frames is not None
    assert len(frames) >= 1_000
    assert ray_has.isdisjoint(frames)


@pytest.mark.parametrize("name", SHELL_LISTS)
def test_ray_start_knows_every_option(config: Config, name: str) -> None:
    from ray.scripts.scripts import start

    text = CliRunner().invoke(start, ["--help"]).output
    for option in options(config[name][-1]):
        assert f"--{option}" in text, option


def test_the_dashboard_is_not_open_to_the_network(config: Config) -> None:
    assert options(config["head_start_ray_commands"][-1])["dashboard-host"] == "127.0.0.1"
