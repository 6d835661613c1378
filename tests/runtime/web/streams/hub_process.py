"""A hub and its server in a process of their own, on a journal of another one, to be killed.

python -m tests.runtime.web.streams.hub_process JOURNAL PORT
"""

import asyncio
import sys

from callboard.actors.events.log import FollowedLog
from callboard.actors.streaming.hub import Hub
from callboard.runtime.channels.journal import JournalSource
from callboard.runtime.stores.choose import event_store
from callboard.runtime.web.server import WebServer
from callboard.runtime.web.settings import WebSettings
from tests.runtime.web.edge import Tokens


async def main(journal: str, port: int) -> None:
    log = FollowedLog(event_store(journal, reads_only=True), poll_s=0.005)
    hub = Hub(Tokens(), (JournalSource(log),))
    server = WebServer(WebSettings(port=port), Tokens())
    hub.start()
    url = await server.start(hub)
    print(url, flush=True)  # noqa: T201 - the test reads it
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
