"""A projecting process is killed with -9 at a random moment, again and again, on one file."""

import random
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from callboard.actors.events.projection.figures import ProjectorLimits
from callboard.actors.events.projection.projector import Projector
from callboard.runtime.stores.sqlite import SqliteEventStore, SqliteReadModelStore

from .accounts import DEADLINE_S, Accounts, append, checked, open_journal, some_events

KILLS: Final = 10
EVENTS: Final = 6_000
RUN_S_MAX: Final = 0.15
PROJECTING: Final = """
import asyncio, os, sys
from callboard.actors.events.log import FollowedLog
from callboard.actors.events.projection.figures import ProjectorLimits
from callboard.actors.events.projection.projector import Projector
from callboard.runtime.stores.sqlite import SqliteEventStore, SqliteReadModelStore
from tests.actors.events.accounts import Accounts

async def main():
    log = FollowedLog(SqliteEventStore(sys.argv[1]))
    await log.open()
    models = SqliteReadModelStore(sys.argv[1])
    projector = Projector(Accounts(), log, models, limits=ProjectorLimits(page_events=20))
    await projector.start()
    os.write(1, b"ready\\n")
    await projector.wait_for(10**9, 100.0)

asyncio.run(main())
"""


def incarnation(path: Path, root: Path, seed: int) -> None:
    """Let a process project for a while, and kill it."""
    command = [sys.executable, "-c", PROJECTING, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as process:
        assert process.stdout is not None
        try:
            assert select.select([process.stdout], [], [], DEADLINE_S)[0], "it hangs"
            assert process.stdout.readline() == b"ready\n"
            # The moment of death is random; nothing else is there to wait for.
            time.sleep(random.Random(seed).uniform(0, RUN_S_MAX))
        finally:
            process.kill()


async def test_kill_9_of_a_projecting_process_loses_and_repeats_nothing(
    tmp_path: Path, root: Path
) -> None:
    path = tmp_path / "both.db"
    events = some_events(1, EVENTS)
    positions: list[int] = []
    async with open_journal(SqliteEventStore(path)) as journal:
        await append(journal, events, size=500)
        models = SqliteReadModelStore(path)
        models.open()
        for seed in range(KILLS):
            incarnation(path, root, seed)
            positions.append(checked(models, "accounts", events))
        assert positions == sorted(positions)
        assert any(0 < position < EVENTS for position in positions), "no kill was in the middle"
        limits = ProjectorLimits(page_events=500)
        async with Projector(Accounts(), journal, models, limits=limits) as last:
            await last.wait_for(EVENTS, DEADLINE_S)
        assert checked(models, "accounts", events) == EVENTS
        models.close()
