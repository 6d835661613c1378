"""`callboard config`: every finding in one run, and exit codes for scripts."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from callboard.configuration import ConfigurationPackage
from callboard.messages.core.errors import UsageError
from callboard.runtime.cli.commands.group import group


def config(*arguments: object) -> Result:
    return CliRunner().invoke(group, ["config", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "agents").mkdir(parents=True)
    (root / "agents" / "good.md").write_text("---\nname: good\ndescription: d\n---\nRead.\n")
    return root


def test_a_good_folder_has_exit_code_0(folder: Path) -> None:
    done = config("validate", folder)
    assert done.exit_code == 0, done.output
    assert "1 file: 1 accepted" in done.output
    assert "1 component." in done.output


def test_every_finding_is_shown_with_its_place(folder: Path) -> None:
    (folder / "agents" / "bad.md").write_text("---\nname: bad\nmodel: gtp\ntools: Raed\n---\n")
    done = config("validate", folder)
    assert done.exit_code == 1
    assert "agents/bad.md:3: warning unknown-model" in done.output
    assert "agents/bad.md:4: warning unknown-tool" in done.output
    assert "agents/bad.md:2: error description-missing" in done.output
    read = json.loads(config("validate", folder, "--json").output)
    assert read["files"] == {"agents/bad.md": "rejected", "agents/good.md": "accepted"}
    assert read["components"] == 1
    assert not read["valid"]
    assert read["refused"] == []
    assert json.loads(config("validate", folder, "--json", "--strict").output)["refused"]


def test_a_refused_package_says_why(folder: Path) -> None:
    (folder / ".claude").mkdir()
    (folder / ".claude" / "settings.json").write_text('{"permissions": {"deny": ["Bash("]}}')
    done = config("validate", folder)
    assert done.exit_code == 1
    assert "refused: .claude/settings.json" in done.output


def test_a_policy_and_a_package_before_are_taken_into_account(folder: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("severities: {component-removed: error}\n")
    other = tmp_path / "other"
    other.mkdir()
    assert config("validate", other, "--before", folder).exit_code == 0
    done = config("validate", other, "--before", folder, "--policy", policy)
    assert done.exit_code == 1
    assert "component-removed" in done.output


def test_show_and_diff(folder: Path, tmp_path: Path) -> None:
    done = config("show", folder, "--json")
    package = ConfigurationPackage.model_validate_json(done.output)
    assert [one.name for one in package.components] == ["good"]
    assert package.package_id in config("show", folder).output
    assert config("diff", folder, folder).exit_code == 0
    other = tmp_path / "other"
    other.mkdir()
    done = config("diff", folder, other)
    assert done.exit_code == 1
    assert "removed  agent good" in done.output


def test_a_path_that_is_not_there_and_a_broken_policy_are_usage_errors(tmp_path: Path) -> None:
    assert isinstance(config("validate", tmp_path / "nothing").exception, UsageError)
    policy = tmp_path / "policy.yaml"
    policy.write_text("severities: {nothing: error}\n")
    assert isinstance(config("validate", tmp_path, "--policy", policy).exception, UsageError)


def test_a_package_is_signed_and_verified(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    key, envelope = tmp_path / "key", tmp_path / "signed.json"
    assert config("key", key).exit_code == 0
    signed = config("sign", folder, "--key", key, "--counter", 1, "--envelope", envelope)
    assert signed.exit_code == 0, signed.output
    arguments = ("verify", folder, "--key", f"{key}.pub", "--envelope", envelope)
    assert config(*arguments).exit_code == 0
    assert json.loads(config(*arguments, "--json").output)["counter"] == 1
    assert isinstance(config(*arguments, "--least-counter", 2).exception, UsageError)
    (folder / "agents" / "good.md").write_text("---\nname: good\ndescription: x\n---\nRead.\n")
    assert isinstance(config(*arguments).exception, UsageError)
