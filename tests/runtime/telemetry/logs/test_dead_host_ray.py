"""The last lines of a host that was killed with -9, by the command line."""

import logging
import os
import signal
from pathlib import Path

import pytest

from callboard import Actor, Contract, Request, handler
from callboard.messages.core.errors import CallboardError
from callboard.runtime.api.start import start

pytestmark = [pytest.mark.ray, pytest.mark.soak]
LOGGER = logging.getLogger("dead_host")


class Spoken(Contract):
    pid: int


class Speak(Request[Spoken]):
    count: int


class Speaker(Actor):
    @handler
    async def speak(self, request: Speak) -> Spoken:
        for number in range(request.count):
            LOGGER.warning("word %d", number)
        return Spoken(pid=os.getpid())


async def test_the_story_of_a_killed_host_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from callboard.messages.control.logs import QueryLogs
    from callboard.runtime.api.inside import host_of
    from callboard.runtime.telemetry.logs.extension import HostLogs

    async with start(engine="ray", hosts=1, standbys=1, name="story", journal="off") as system:
        speaker = await system.spawn(Speaker, name="speaker", host=1)
        pid = (await speaker.ask(Speak(count=50), timeout_s=30.0)).pid
        logs = host_of(system).extension(HostLogs).system
        query = QueryLogs(where="/speaker", limit=500)
        while len(logs.page(query).rows) < 50:
            await speaker.ask(Speak(count=0), timeout_s=30.0)
        os.kill(pid, signal.SIGKILL)
        while True:
            try:
                after = (await speaker.ask(Speak(count=1), timeout_s=60.0)).pid
            except CallboardError:
                continue
            if after != pid:
                break
        while len(logs.page(query).rows) < 51:
            await speaker.ask(Speak(count=0), timeout_s=30.0)
        texts = [row.text for row in logs.page(query).rows]
        assert texts == [*(f"word {number}" for number in range(50)), "word 0"]
        assert {row.path for row in logs.page(query).rows} == {"/speaker"}
