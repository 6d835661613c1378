"""A system with its HTTP API, in a process that a test kills: prints its URL and a token."""

import asyncio
import json
import sys
from pathlib import Path

from callboard.messages.control.principals import Scope

from .api_world import api_world


async def serve(folder: Path) -> None:
    async with api_world(folder) as world:
        token = await world.token(Scope.PUBLISH, Scope.READ, publishes=("*",))
        sys.stdout.write(json.dumps({"url": world.url, "token": token}) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
