"""`callboard doctor` with real sockets and files: its exit code and its JSON."""

import json
import socket
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from callboard.runtime.cli.commands.systems import doctor
from callboard.runtime.cli.doctor import run_checks
from callboard.runtime.doctor.check import Check, Status
from callboard.runtime.doctor.network import RAY_PORTS


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def closed_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def test_every_part_of_the_machine_is_checked(tmp_path: Path) -> None:
    names = set(by_name(run_checks(environment={}, home=tmp_path)))
    ports = {f"port {port}" for port in RAY_PORTS}
    assert names == ports | {
        "python",
        "ray",
        "uvloop",
        "token",
        "disk",
        "shared memory",
        "memory",
        "open files",
        "stray processes",
    }


def test_every_finding_has_advice(tmp_path: Path) -> None:
    environment = {"RAY_AUTH_MODE": "tokne", "RAY_TMPDIR": str(tmp_path)}
    for check in run_checks(environment=environment, home=tmp_path, address=closed_address()):
        assert check.status is Status.OK or check.advice, check


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        checks = run_checks(environment={}, home=tmp_path, ports={port: "the dashboard"})
    assert by_name(checks)[f"port {port}"].status is Status.WARN


def test_an_unreadable_token_fails(tmp_path: Path) -> None:
    environment = {"RAY_AUTH_TOKEN_PATH": str(tmp_path)}
    assert by_name(run_checks(environment=environment, home=tmp_path))["token"].status is (
        Status.FAIL
    )


def test_an_address_is_tried_only_when_given(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        checks = run_checks(environment={}, home=tmp_path, address=address, deadline_s=0.2)
    # It accepts, but it is no cluster: it never sends anything.
    assert by_name(checks)["address"].status is Status.FAIL
    assert "address" not in by_name(run_checks(environment={}, home=tmp_path))


def test_json_and_the_exit_code_agree_about_a_failure() -> None:
    began = time.monotonic()
    result = CliRunner().invoke(doctor, ["--json", "--address", closed_address()])
    took_s = time.monotonic() - began
    assert result.exit_code == 1
    data = json.loads(result.output)
    assert data["ready"] is False
    (address,) = [check for check in data["checks"] if check["name"] == "address"]
    assert (address["status"], bool(address["advice"])) == ("fail", True)
    assert took_s < 30


@pytest.mark.parametrize("text", ["head", "head:70000"])
def test_a_malformed_address_is_a_finding_and_no_crash(text: str) -> None:
    result = CliRunner().invoke(doctor, ["--address", text])
    assert result.exit_code == 1
    assert "not the address of a cluster" in " ".join(result.output.split())


def test_a_machine_that_is_ready_exits_with_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o600)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    result = CliRunner().invoke(doctor, ["--json"])
    failed = [check for check in json.loads(result.output)["checks"] if check["status"] == "fail"]
    assert result.exit_code == (1 if failed else 0)
    assert failed == []


def test_the_table_ends_with_a_verdict() -> None:
    result = CliRunner().invoke(doctor, [])
    assert result.output.rstrip().splitlines()[-1].startswith(("Ready", "Not ready"))


def test_help_lists_its_options() -> None:
    result = CliRunner().invoke(doctor, ["--help"])
    assert result.exit_code == 0
    assert "--address HOST:PORT" in result.output
