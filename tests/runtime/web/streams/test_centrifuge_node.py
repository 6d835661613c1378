"""The official JavaScript client under Node does all that it can with the server.

It needs `node`, and a folder with the npm packages `centrifuge` and `ws`, which the variable
CALLBOARD_NODE_MODULES names. Nothing is downloaded.
"""

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.streaming.protocol import Disconnect
from callboard.runtime.web.settings import WebSettings
from tests.runtime.web.edge import EPOCH, GOOD, RULED, SUBSCRIBING, MemoryJournal, Served, serving

MODULES = os.environ.get("CALLBOARD_NODE_MODULES", "")
NODE = shutil.which("node")
SCRIPT = Path(__file__).with_name("client.mjs")
pytestmark = pytest.mark.skipif(
    NODE is None or not (Path(MODULES) / "centrifuge").is_dir() or not MODULES,
    reason="no node, or CALLBOARD_NODE_MODULES names no folder with the package centrifuge",
)


class NodeClient:
    """The client's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.waiting: list[dict[str, Any]] = []

    def do(self, what: str, **fields: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": what, **fields}).encode() + b"\n")

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next report of a kind; others stay."""
        for index, report in enumerate(self.waiting):
            if report["kind"] == kind:
                return self.waiting.pop(index)
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            while True:
                line = await self.process.stdout.readline()
                assert line, "the client has ended"
                report = json.loads(line)
                if report["kind"] == kind:
                    assert isinstance(report, dict)
                    return report
                self.waiting.append(report)


@contextlib.asynccontextmanager
async def node_client(served: Served, token: str = GOOD) -> AsyncIterator[NodeClient]:
    assert NODE is not None
    process = await asyncio.create_subprocess_exec(
        NODE,
        str(SCRIPT),
        served.socket_url,
        token,
        str(Path(MODULES).resolve()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield NodeClient(process)
    finally:
        process.kill()
        await process.wait()


async def test_the_javascript_client_does_what_the_protocol_has() -> None:
    async with serving() as served, node_client(served) as client:
        client.do("connect")
        await client.hear("connected")
        client.do("subscribe", channel="events")
        assert not (await client.hear("subscribed"))["resumed"]
        served.journal.append({"text": "é"}, level="info")
        found = await client.hear("publication")
        assert found["data"]["payload"] == {"text": "é"}
        assert (found["offset"], found["tags"]) == (1, {"level": "info"})
        client.do("history", channel="events", since={"offset": 0, "epoch": EPOCH})
        assert (await client.hear("history"))["offsets"] == [1]
        client.do("presence", channel="events")
        assert (await client.hear("presence"))["users"] == ["ada"]
        client.do("rpc")
        assert (await client.hear("refused"))["code"] == 104
        [session] = served.hub._sessions.values()
        session.refuse(Disconnect.FORCE_RECONNECT, "force reconnect")
        served.journal.append("while away")
        assert (await client.hear("subscribed"))["recovered"]
        assert (await client.hear("publication"))["data"]["payload"] == "while away"
        client.do("disconnect")
        served.journal.append("in between")
        client.do("connect")
        assert (await client.hear("subscribed"))["recovered"]
        assert (await client.hear("publication"))["data"]["payload"] == "in between"


async def test_the_javascript_client_filters() -> None:
    async with serving() as served, node_client(served) as client:
        client.do("connect")
        client.do("subscribe", channel="events", tf={"key": "level", "cmp": "eq", "val": "error"})
        await client.hear("subscribed")
        served.journal.append("no", level="info")
        served.journal.append("yes", level="error")
        assert (await client.hear("publication"))["data"]["payload"] == "yes"


async def test_the_javascript_client_resumes_after_a_restart() -> None:
    journal = MemoryJournal()
    async with contextlib.AsyncExitStack() as stack:
        async with serving(journal=journal) as served:
            client = await stack.enter_async_context(node_client(served))
            client.do("connect")
            client.do("subscribe", channel="events")
            await client.hear("subscribed")
        assert (await client.hear("connecting"))["code"] == 0
        assert (await client.hear("connecting"))["code"] == Disconnect.SHUTDOWN
        journal.append("while the hub was away")
        async with serving(WebSettings(port=served.port), journal=journal):
            assert (await client.hear("subscribed"))["recovered"]
            found = await client.hear("publication")
            assert found["data"]["payload"] == "while the hub was away"


async def test_a_bad_token_ends_the_javascript_client_for_good() -> None:
    async with serving() as served, node_client(served, token="x") as client:
        client.do("connect")
        ended = await client.hear("disconnected")
        assert ended["code"] == Disconnect.INVALID_TOKEN
        assert ended["reason"] == "the token does not count"


async def test_the_server_subscribes_the_javascript_client_and_a_restart_is_resumed() -> None:
    journal = MemoryJournal()
    async with contextlib.AsyncExitStack() as stack:
        async with serving(journal=journal) as served:
            client = await stack.enter_async_context(node_client(served, token=SUBSCRIBING))
            client.do("connect")
            begun = [(await client.hear("server_subscribed"))["channel"] for _ in range(2)]
            assert sorted(begun) == ["events", "room:1"]
            journal.append("one")
            assert (await client.hear("server_publication"))["offset"] == 1
            [name] = served.hub.clients_of("ada")
            assert await served.hub.subscribe(name, "room:2")
            assert (await client.hear("server_subscribed"))["channel"] == "room:2"
            assert served.hub.unsubscribe(name, "room:2")
            assert (await client.hear("server_unsubscribed"))["channel"] == "room:2"
        journal.append("while the hub was away")
        async with serving(WebSettings(port=served.port), journal=journal):
            found = [await client.hear("server_subscribed") for _ in range(2)]
            assert {each["channel"]: each["recovered"] for each in found}["events"]
            journal.append("after")
            events = [await client.hear("server_publication") for _ in range(2)]
            assert [each["offset"] for each in events] == [2, 3]


async def test_a_rule_hides_events_and_positions_from_the_javascript_client() -> None:
    async with serving() as served, node_client(served, token=RULED) as client:
        client.do("connect")
        await client.hear("server_subscribed")
        served.journal.append("another tenant's", tenant="b")
        served.journal.append("mine", tenant="a")
        found = await client.hear("server_publication")
        assert (found["data"]["payload"], found["offset"]) == ("mine", 0)
