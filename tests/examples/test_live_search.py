"""The live search: a stream for its driver, and a channel for a client outside."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from callboard import UiSettings, start
from callboard.messages.control.principals import Scope
from callboard.runtime.api.tokens import open_tokens
from examples import live_search
from examples.live_search import Searched, follow, search

LINES_MAX = 150


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files with three hits."""
    found = tmp_path / "searched"
    found.mkdir()
    (found / "a.py").write_text("import os\nx = 1\nimport sys\n", encoding="utf-8")
    (found / "b.py").write_text("# important\n", encoding="utf-8")
    return found


@pytest.mark.parametrize(
    "engine",
    ["inline", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.soak])],
)
def test_the_command_prints_each_hit_and_the_counts(root: Path, folder: Path, engine: str) -> None:
    done = subprocess.run(
        [sys.executable, root / "examples/live_search.py", "import", folder, f"engine={engine}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ.copy(),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{folder}/a.py:1: import os",
        f"{folder}/a.py:3: import sys",
        f"{folder}/b.py:1: # important",
        "3 hits in 2 files",
    ]


async def test_a_driver_that_has_enough_ends_the_search(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_search, "HITS_MAX", 1)
    async with start(engine="inline", hosts=1) as system:
        assert await search(system, "import", str(folder)) is None
        monkeypatch.setattr(live_search, "HITS_MAX", 3)
        assert await search(system, "import", str(folder)) == Searched(files=2, hits=3)


async def test_a_client_outside_gets_the_same_hits(folder: Path) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("jwt")
    ui = UiSettings(prints_link=False)
    async with asyncio.timeout(60), start(engine="inline", hosts=1, name="live", ui=ui) as system:
        async with open_tokens("live") as tokens:
            token, _ = await tokens.create("ada", 3_600, scopes=(Scope.READ,), channels=["hits"])
        url = (await system.ui.urls())[0]
        found: list[dict[str, Any]] = []
        reading = asyncio.create_task(asyncio.to_thread(read_three, url, token, found))
        while not found:  # The channel begins for the client when it has subscribed.
            assert await search(system, "import", str(folder)) == Searched(files=2, hits=3)
        await reading
    # The client may have subscribed within a search, so it begins anywhere, and in order.
    lines = ["import os", "import sys", "# important"]
    first = lines.index(found[0]["payload"]["text"])
    assert [event["payload"]["text"] for event in found] == lines[first:] + lines[:first]


def read_three(url: str, token: str, found: list[dict[str, Any]]) -> None:
    """The first three events from the first hit of a search on."""
    for event in follow(url, token):
        if found or event["payload"]["line"] == 1:
            found.append(event)
        if len(found) == 3:
            return


def test_it_is_small(root: Path) -> None:
    text = (root / "examples/live_search.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) < LINES_MAX
