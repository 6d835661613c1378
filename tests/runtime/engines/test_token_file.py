"""Ray's token file: private from its first moment, repaired with a word, or refused."""

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

import pytest

from callboard.messages.core.errors import ClusterError
from callboard.runtime.doctor.token import default_token_file
from callboard.runtime.engines.ray.token_file import make_private

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs permissions of files")
SECRET: Final = "5ca1ab1e" * 8
DRIVER: Final = """
import asyncio, os, sys

import callboard

async def main():
    async with callboard.start(hosts=1, standbys=0):
        print("up")

os.umask(0)
asyncio.run(main())
"""


def written(home: Path, mode: int) -> Path:
    file = default_token_file(home)
    file.parent.mkdir()
    file.write_text(SECRET)
    file.chmod(mode)
    return file


def mode_of(file: Path) -> int:
    return file.stat().st_mode & 0o777


def test_a_missing_token_is_written_for_this_user_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert make_private({}, tmp_path, writes=True)
    finally:
        os.umask(before)
    file = default_token_file(tmp_path)
    assert (mode_of(file), mode_of(file.parent)) == (0o600, 0o700)
    assert len(file.read_text()) == 64
    assert [*file.parent.iterdir()] == [file]


def test_a_token_is_written_once_though_many_start_at_once(tmp_path: Path) -> None:
    seen: list[str] = []
    ready = threading.Barrier(8)

    def start() -> None:
        ready.wait()
        make_private({}, tmp_path, writes=True)
        seen.append(default_token_file(tmp_path).read_text())

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert {len(token) for token in seen} == {64}
    assert len(set(seen)) == 1


def test_nothing_is_written_for_a_driver_that_joins(tmp_path: Path) -> None:
    assert not make_private({}, tmp_path, writes=False)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666, 0o777])
def test_a_file_that_others_can_read_is_repaired_with_a_word(
    tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    file = written(tmp_path, mode)
    assert make_private({}, tmp_path, writes=True)
    assert (mode_of(file), file.read_text()) == (0o600, SECRET)
    (record,) = caplog.records
    assert f"{mode:03o}" in record.getMessage()
    assert SECRET not in record.getMessage()


def test_a_private_file_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = written(tmp_path, 0o400)
    assert make_private({}, tmp_path, writes=True)
    assert (mode_of(file), caplog.records) == (0o400, [])


def test_a_file_that_is_named_is_repaired_too(tmp_path: Path) -> None:
    file = written(tmp_path, 0o644)
    other = tmp_path / "home"
    other.mkdir()
    assert make_private({"RAY_AUTH_TOKEN_PATH": str(file)}, other, writes=True)
    assert mode_of(file) == 0o600
    assert [*other.iterdir()] == []


def test_a_named_file_that_is_missing_is_rays_to_report(tmp_path: Path) -> None:
    named = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "nowhere")}
    assert make_private(named, tmp_path, writes=True)
    assert [*tmp_path.iterdir()] == []


def test_a_token_in_a_variable_needs_no_file(tmp_path: Path) -> None:
    file = written(tmp_path, 0o644)
    assert make_private({"RAY_AUTH_TOKEN": SECRET}, tmp_path, writes=True)
    assert mode_of(file) == 0o644


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_an_open_file_of_another_user_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, 0o644)
    os.chown(file, 65_534, 65_534)
    with pytest.raises(ClusterError, match="other users can read") as caught:
        make_private({}, tmp_path, writes=True)
    assert "chmod 600" in caught.value.advice
    assert mode_of(file) == 0o644


def run_driver(home: Path) -> "subprocess.CompletedProcess[str]":
    named = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    inherited = {key: value for key, value in os.environ.items() if key not in named}
    return subprocess.run(
        [sys.executable, "-c", DRIVER],
        env={**inherited, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60.0,
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_driver_does_not_start_with_a_token_that_others_read(tmp_path: Path) -> None:
    os.chown(written(tmp_path, 0o644), 65_534, 65_534)
    ran = run_driver(tmp_path)
    assert ran.returncode == 1
    assert "ClusterError: other users can read Ray's token" in ran.stderr
    assert SECRET not in ran.stderr


@pytest.mark.ray
@pytest.mark.soak
@pytest.mark.parametrize("mode", [None, 0o644])
def test_rays_first_start_leaves_a_private_token(tmp_path: Path, mode: int | None) -> None:
    if mode is not None:
        written(tmp_path, mode)
    ran = run_driver(tmp_path)
    assert ran.stdout == "up\n", ran.stderr
    assert mode_of(default_token_file(tmp_path)) == 0o600
    assert ("other users could read" in ran.stderr) is (mode is not None)
