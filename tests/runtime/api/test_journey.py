"""The journey of one message passes the stops that ARCHITECTURE.md lists."""

import re
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.kernel.actor import Agent, handler
from callboard.actors.kernel.asks import AskFuture
from callboard.actors.kernel.cell import Cell
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.link.outbox import Outbox
from callboard.actors.kernel.link.receiver import FrameReceiver
from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import Contract, Request
from callboard.runtime.api.start import start


class Length(Contract):
    characters: int


class Measure(Request[Length]):
    text: str


class Ruler(Agent):
    @handler
    async def measure(self, request: Measure) -> Length:
        return Length(characters=len(request.text))


STOPS: list[tuple[str, type, str]] = [
    ("Host.ask", Host, "ask"),
    ("Host.call", Host, "call"),
    ("Outbox.post", Outbox, "post"),
    ("Codec.encode", Codec, "encode"),
    ("Host.receive", Host, "receive"),
    ("FrameReceiver.accept", FrameReceiver, "accept"),
    ("Codec.decode", Codec, "decode"),
    ("Cell.arrive", Cell, "arrive"),
    ("FrameReceiver.reply", FrameReceiver, "reply"),
    ("AskFuture.reply", AskFuture, "reply"),
]


async def test_an_ask_passes_the_stops_of_the_document(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The message passes every stop, and the first passes are in this order."""
    passed: list[str] = []

    def watched(name: str, function: Any) -> Any:
        def stop(*args: Any, **keywords: Any) -> Any:
            if recording and name not in passed:
                passed.append(name)
            return function(*args, **keywords)

        return stop

    recording = False
    for name, cls, attribute in STOPS:
        monkeypatch.setattr(cls, attribute, watched(name, getattr(cls, attribute)))
    async with start(engine="inline", hosts=1, standbys=0) as system:
        ref = await system.spawn(Ruler)
        recording = True
        assert (await ref.ask(Measure(text="four"))).characters == 4
        recording = False
    assert passed == [name for name, _, _ in STOPS]


def test_the_document_names_every_stop(root: Path) -> None:
    text = (root / "ARCHITECTURE.md").read_text(encoding="utf-8")
    journey = text[text.index("## One message's journey") : text.index("## What keeps memory")]
    for name, _, attribute in STOPS:
        cls = name.split(".")[0]
        assert re.search(rf"`{cls}`|`{cls}\.|`{attribute}`", journey), name
