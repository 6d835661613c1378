"""The token check on real files: every source, every error, and no leak."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.runtime.doctor.check import Check, Status
from callboard.runtime.doctor.token import check_token, default_token_file

SECRET = "correct-horse-battery-staple"


def local(home: Path, **environment: str) -> Check:
    return check_token(environment, home, joining=False)


def joining(home: Path, **environment: str) -> Check:
    return check_token(environment, home, joining=True)


def write_default(home: Path, text: str, mode: int = 0o600) -> Path:
    file = default_token_file(home)
    file.parent.mkdir()
    file.write_text(text)
    file.chmod(mode)
    return file


def test_a_private_default_file_is_ok(tmp_path: Path) -> None:
    write_default(tmp_path, SECRET)
    assert local(tmp_path).status is Status.OK
    assert joining(tmp_path, RAY_AUTH_MODE="token").status is Status.OK


def test_no_token_is_ok_locally_because_ray_writes_one(tmp_path: Path) -> None:
    assert local(tmp_path).status is Status.OK


def test_no_token_fails_when_joining_with_tokens(tmp_path: Path) -> None:
    check = joining(tmp_path, RAY_AUTH_MODE="token")
    assert check.status is Status.FAIL
    assert str(default_token_file(tmp_path)) in check.advice


def test_no_token_and_no_mode_warns_when_joining(tmp_path: Path) -> None:
    assert joining(tmp_path).status is Status.WARN


def test_a_token_needs_no_mode_when_joining(tmp_path: Path) -> None:
    assert joining(tmp_path, RAY_AUTH_TOKEN=SECRET).status is Status.OK


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_file_fails(tmp_path: Path, text: str) -> None:
    write_default(tmp_path, text)
    check = local(tmp_path)
    assert check.status is Status.FAIL
    assert "empty" in check.found


def test_a_file_that_all_may_read_warns(tmp_path: Path) -> None:
    file = write_default(tmp_path, SECRET, mode=0o644)
    check = local(tmp_path)
    assert check.status is Status.WARN
    assert f"chmod 600 {file}" in check.advice


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_an_open_file_of_another_user_fails(tmp_path: Path) -> None:
    file = write_default(tmp_path, SECRET, mode=0o640)
    os.chown(file, 65_534, 65_534)
    check = local(tmp_path)
    assert check.status is Status.FAIL
    assert "RAY_AUTH_TOKEN" in check.advice


@given(st.binary(max_size=80), st.integers(0, 0o777))
def test_any_file_gives_a_finding_without_its_content(data: bytes, mode: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "token"
        file.write_bytes(b"secret-" + data + b"-secret")
        file.chmod(mode)
        check = local(Path(folder), RAY_AUTH_TOKEN_PATH=str(file))
    assert check.status in Status
    assert "secret-" not in check.found + check.advice


def test_a_named_file_that_is_missing_fails_though_the_default_is_there(tmp_path: Path) -> None:
    write_default(tmp_path, SECRET)
    check = local(tmp_path, RAY_AUTH_TOKEN_PATH=str(tmp_path / "nowhere"))
    assert check.status is Status.FAIL
    assert "nowhere" in check.found


def test_an_unreadable_named_file_fails(tmp_path: Path) -> None:
    # A folder is unreadable as a file for every user, root included.
    assert local(tmp_path, RAY_AUTH_TOKEN_PATH=str(tmp_path)).status is Status.FAIL


def test_a_file_that_is_no_text_fails(tmp_path: Path) -> None:
    file = tmp_path / "binary"
    file.write_bytes(b"\xff\xfe\x00\x80")
    check = local(tmp_path, RAY_AUTH_TOKEN_PATH=str(file))
    assert check.status is Status.FAIL
    assert "no text" in check.found


def test_the_variable_comes_before_every_file(tmp_path: Path) -> None:
    check = local(tmp_path, RAY_AUTH_TOKEN=SECRET, RAY_AUTH_TOKEN_PATH=str(tmp_path / "nowhere"))
    assert check.status is Status.OK


def test_an_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    check = joining(tmp_path, RAY_AUTH_TOKEN=" ", RAY_AUTH_MODE="token")
    assert check.status is Status.FAIL


def test_switched_off_warns_and_an_unknown_mode_fails(tmp_path: Path) -> None:
    assert local(tmp_path, RAY_AUTH_MODE="disabled").status is Status.WARN
    assert local(tmp_path, RAY_AUTH_MODE="tokne").status is Status.FAIL


@pytest.mark.parametrize("mode", ["", "token", "disabled", "tokne"])
def test_a_token_never_gets_into_a_finding(tmp_path: Path, mode: str) -> None:
    write_default(tmp_path, SECRET, mode=0o644)
    for check in (
        local(tmp_path, RAY_AUTH_MODE=mode),
        joining(tmp_path, RAY_AUTH_MODE=mode, RAY_AUTH_TOKEN=SECRET),
    ):
        assert SECRET not in check.found + check.advice
