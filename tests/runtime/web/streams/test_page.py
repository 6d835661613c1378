"""The transcripts of `docs/streams.md` are what the server says.

`>` is sent and `<` must come, with `…` for anything; `!` publishes an event with these tags.
"""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
import websockets

from tests.runtime.web.edge import GOOD, SUBSCRIBING, serving

TRANSCRIPT = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANYTHING = "…"


def assert_like(found: Any, expected: Any) -> None:
    if expected == ANYTHING:
        return
    if isinstance(expected, dict):
        assert set(expected) <= set(found), (found, expected)
        for name, value in expected.items():
            assert_like(found[name], value)
    else:
        assert found == expected


def transcripts(root: Path) -> list[list[str]]:
    page = (root / "docs" / "streams.md").read_text(encoding="utf-8")
    return [block.splitlines() for block in TRANSCRIPT.findall(page)]


@pytest.mark.parametrize("index", [0, 1, 2])
async def test_a_transcript_holds(root: Path, index: int) -> None:
    lines = transcripts(root)[index]
    waiting: list[str] = []
    async with serving() as served:
        url = served.plain_url if lines[0] == "/stream" else served.socket_url
        async with websockets.connect(url) as socket, asyncio.timeout(20):
            for line in lines:
                text = line[2:].replace("ADAS-TOKEN", SUBSCRIBING).replace("TOKEN", GOOD)
                if line.startswith(">"):
                    await socket.send(text)
                elif line.startswith("!"):
                    channel, *tags = text.split()
                    named = dict(tag.split("=") for tag in tags)
                    served.journal.append("x", channel=channel, **named)
                elif line.startswith("<"):
                    if not waiting:
                        waiting = str(await socket.recv()).split("\n")
                    assert_like(json.loads(waiting.pop(0)), json.loads(text))


def test_the_page_has_its_transcripts(root: Path) -> None:
    assert len(transcripts(root)) == 3
