"""`callboard prometheus`: what Prometheus and Grafana need."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from callboard.runtime.cli.outcome import ExitCode
from callboard.runtime.telemetry.exposition.place import Place
from callboard.runtime.transport.private_folder import private_folder

Run = Callable[..., Any]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place in a folder for temporary files of its own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return Place.of("shown", "group")


def test_the_configuration_names_the_folder_of_this_user(callboard: Run, place: Place) -> None:
    ended = callboard("prometheus", "config")
    assert ended.code == ExitCode.OK
    jobs = yaml.safe_load(ended.out)["scrape_configs"]
    (pattern,) = jobs[0]["file_sd_configs"][0]["files"]
    assert pattern == f"{private_folder()}/metrics/*.json"


def test_the_dashboard_is_printed(callboard: Run) -> None:
    ended = callboard("prometheus", "dashboard")
    assert ended.code == ExitCode.OK
    assert json.loads(ended.out)["title"] == "Callboard"


def test_the_targets_are_those_that_are_served(
    callboard: Run, place: Place, tmp_path: Path
) -> None:
    ended = callboard("prometheus", "targets")
    assert (ended.code, json.loads(ended.out)) == (ExitCode.FAILED, [])
    lock = place.lock()
    assert lock is not None
    place.announce("::1", 9464)
    ended = callboard("prometheus", "targets")
    wanted = [{"targets": ["[::1]:9464"], "labels": {"callboard_system": "shown"}}]
    assert (ended.code, json.loads(ended.out)) == (ExitCode.OK, wanted)
    copy = tmp_path / "copy.json"
    assert callboard("prometheus", "targets", "--write", str(copy)).code == ExitCode.OK
    assert json.loads(copy.read_text()) == wanted
    assert copy.stat().st_mode & 0o777 == 0o644
    os.close(lock)
    ended = callboard("prometheus", "targets")
    assert (ended.code, json.loads(ended.out)) == (ExitCode.FAILED, [])


def test_a_file_that_cannot_be_written_is_named(
    callboard: Run, place: Place, tmp_path: Path
) -> None:
    ended = callboard("prometheus", "targets", "--write", str(tmp_path / "no" / "file"))
    assert ended.code == ExitCode.USAGE
    assert "no/file" in ended.err
