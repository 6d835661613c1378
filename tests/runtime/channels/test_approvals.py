"""The channel `approvals`, over the admin API of a running system."""

import json
from pathlib import Path
from typing import Any

import callboard as cb
from callboard.actors.streaming.protocol import Publication
from callboard.jobs import AskApproval, DecideApproval, start_approvals
from callboard.runtime.admin.extension import ADMIN, client_of
from callboard.runtime.channels.approvals import CHANNEL, approvals_source


class Collected:
    """A `Feed` that keeps what it gets."""

    position = None

    def __init__(self) -> None:
        self.got: list[Publication] = []

    def publish(self, channel: str, publication: Publication) -> None:
        assert channel == CHANNEL
        self.got.append(publication)

    def moved(self, position: int) -> None:
        pass

    def is_wanted(self, channel: str) -> bool:
        return True


async def test_questions_and_answers_are_published(tmp_path: Path) -> None:
    async with cb.start(engine="inline", hosts=1) as system:

        async def find() -> Any:
            return system._host.ref(ADMIN)

        feed = Collected()
        source = approvals_source(client_of(find, None).ask)
        source._feed = feed
        await source.open(CHANNEL)
        assert json.loads(source.snapshot(CHANNEL)) == {"values": {}}, "without the actor"
        ref = await start_approvals(system, store=str(tmp_path / "a.db"))
        await ref.ask(AskApproval(id="a", subject="Pay?", asked_by="ada"))
        await source.poll()
        await ref.ask(DecideApproval(id="a", gives=True, by="bob"))
        await source.poll()
        await source.poll()
        states = [json.loads(each.data)["payload"]["value"]["state"] for each in feed.got]
        assert states == ["asked", "given"]
        assert {each.key for each in feed.got} == {"a"}
        (value,) = json.loads(source.snapshot(CHANNEL))["values"].values()
        assert value["decisions"][0]["by"] == "bob"
