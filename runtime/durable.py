"""What users keep besides messages: event logs and states, in the stores that a URL names.

log = await callboard.open_log(system, "orders.db", name="orders")
await log.append("order/7", [NewEvent(new_event_id(), "placed", b"...")], NO_STREAM)

async with callboard.open_states("states.db", cache="redis://localhost") as states:
    await states.persist(state)
"""

import contextlib
import functools
from collections.abc import AsyncIterator
from typing import Final

from callboard.actors.journal.actor import LogActor
from callboard.actors.journal.client import LogClient
from callboard.actors.journal.core import JournalLimits
from callboard.actors.state.states import AgentStateManager, Publish
from callboard.messages.spec import Restart

from .cache.tiers import open_cache
from .stores.choose import event_store, state_store
from .system import System

__all__ = ["open_log", "open_states"]

TTL_S: Final = 3_600.0


async def open_log(
    system: System,
    url: str,
    *,
    name: str,
    host: int | str | None = None,
    durability: str = "full",
    limits: JournalLimits | None = None,
) -> LogClient:
    """Start the one writer of a log, under supervision, and give what appends and reads.

    Others find it with `LogClient(await system.lookup(name))`. The store must be reachable from
    its host: of a file, that is a host of this machine. A writer that still had the log before is
    fenced. Raises what the store raises when it is opened, as `ActorStartFailed`, `NameTaken`,
    and `SpecError` for a URL that names no store.
    """
    make_store = functools.partial(event_store, url, durability=durability)
    make_store()  # A wrong URL is refused here, not on some host.
    ref = await system.spawn(
        LogActor, make_store, limits, name=name, host=host, restart=Restart.PERMANENT
    )
    client = LogClient(ref)
    await client.open()
    return client


@contextlib.asynccontextmanager
async def open_states(
    url: str,
    *,
    cache: str = "",
    publish: Publish | None = None,
    owner: str = "main",
    ttl_s: float = TTL_S,
    durability: str = "full",
) -> AsyncIterator[AgentStateManager]:
    """The states in the store of a URL, cached here and, with a Redis URL, there.

    See `AgentStateManager` for what is promised. Raises what the store raises.
    """
    tiers = open_cache(cache, newest_wins=True)
    store = state_store(url, durability=durability)
    states = AgentStateManager(store, tiers, publish, owner=owner, ttl_s=ttl_s)
    try:
        await states.open()
        yield states
    finally:
        await states.close()
        await tiers.close()
        store.close()
