"""The configuration of the rehearsal is `cluster.yaml` with its marked lines changed."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
import yaml

from .configuration import Machines, changed_lines, for_machines

TEXT: Final = (Path(__file__).resolve().parents[2] / "cluster.yaml").read_text(encoding="utf-8")
MACHINES: Final = Machines(
    head="10.0.0.1",
    workers=("10.0.0.2", "10.0.0.3", "10.0.0.4"),
    login="somebody",
    key="~/.ssh/another",
    ray_version="2.61.1",
)


def test_every_machine_login_key_and_version_is_in_it() -> None:
    config = yaml.safe_load(for_machines(TEXT, MACHINES))
    assert config["provider"] == {
        "type": "local",
        "head_ip": "10.0.0.1",
        "worker_ips": ["10.0.0.2", "10.0.0.3", "10.0.0.4"],
    }
    assert config["auth"] == {"ssh_user": "somebody", "ssh_private_key": "~/.ssh/another"}
    assert any('"ray[default]==2.61.1"' in command for command in config["setup_commands"])
    assert "~/callboard-wheelhouse" not in config["file_mounts"]


def test_only_marked_lines_change() -> None:
    changed = changed_lines(TEXT, for_machines(TEXT, replace(MACHINES, is_offline=True)))
    assert [line.split("#")[0].strip() for line in changed] == [
        "head_ip: 10.0.0.1",
        "- 10.0.0.2",
        "- 10.0.0.3",
        "- 10.0.0.4",
        "ssh_user: somebody",
        "ssh_private_key: ~/.ssh/another",
        '"~/callboard-wheelhouse": "wheelhouse"',
        (
            '- ~/callboard-venv/bin/pip install --quiet "ray[default]==2.61.1" '
            "~/callboard-wheel/callboard-*.whl"
        ),
    ]


def test_offline_is_one_more_mount_and_packages_are_installed_with_ray() -> None:
    text = for_machines(TEXT, replace(MACHINES, is_offline=True, packages=("httpx", "bandit")))
    config = yaml.safe_load(text)
    assert config["file_mounts"]["~/callboard-wheelhouse"] == "wheelhouse"
    assert '"ray[default]==2.61.1" httpx bandit ~/callboard-wheel' in text


def test_a_file_without_a_marked_line_is_refused() -> None:
    with pytest.raises(ValueError, match="has 0 lines like"):
        for_machines(TEXT.replace("head_ip", "head"), MACHINES)
    with pytest.raises(ValueError, match="has 2 lines like"):
        for_machines(TEXT + "  head_ip: 10.1.1.1\n", MACHINES)
