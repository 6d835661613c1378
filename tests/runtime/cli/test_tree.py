"""`callboard tree` looks at systems of other processes, as they are."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callboard.messages.control import ActorView, CallboardView, HostView
from callboard.runtime.announcer import announced_systems
from callboard.runtime.cli.outcome import ExitCode
from callboard.runtime.cli.tree import Sight, draw

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def own_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems of other tests, and of the user, are not seen here. Socket paths must be short."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="cb", dir="/tmp", delete=False) as folder:
        pass
    monkeypatch.setenv("TMPDIR", folder)
    monkeypatch.setattr(tempfile, "tempdir", None)
