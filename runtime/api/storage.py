"""Logs, projections and states in stores that a URL names.

async with callboard.events.open_log(system, "orders.db", name="orders") as log:
    await log.append("order/7", [NewEvent(new_event_id(), "placed", b"...")], NO_STREAM)

async with callboard.states.open_states("states.db", cache="redis://localhost") as states:
    await states.persist(state)
"""

import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any, Final, ParamSpec

from callboard.actors.events.codec import EventCodec
from callboard.actors.events.projection.actor import ProjectorActor
from callboard.actors.events.projection.figures import ProjectorLimits
from callboard.actors.events.projection.projection import Projection
from callboard.actors.journal.actor import LogActor
from callboard.actors.journal.client import LogClient
from callboard.actors.journal.core import JournalLimits
from callboard.actors.kernel.props import props
from callboard.actors.state.states import AgentStateManager, Publish
from callboard.actors.trees.spec import ActorSpec
from callboard.messages.control.placement import Placement
from callboard.messages.control.spec import Backoff, Restart
from callboard.messages.core.ref import Ref
from callboard.messages.storage.events import EventStore

from ..cache.tiers import open_cache
from ..stores.choose import event_store, read_model_store, state_store
from .measure import measure
from .system import System

__all__ = ["Opening", "open_log", "open_states", "projector_spec"]

ParamsT = ParamSpec("ParamsT")
TTL_S: Final = 3_600.0


class Opening(Awaitable[LogClient], contextlib.AbstractAsyncContextManager[LogClient]):
    """A log to open: await it, or enter it by `async with`, which closes it at the end."""

    def __init__(self, opens: Callable[[], Coroutine[Any, Any, LogClient]]) -> None:
        self._opens = opens
        self._log: LogClient

    def __await__(self) -> Generator[Any, Any, LogClient]:
        return self._opens().__await__()

    async def __aenter__(self) -> LogClient:
        self._log = await self
        return self._log

    async def __aexit__(self, *_raised: object) -> None:
        await self._log.close()


def _awaited_or_entered(
    function: Callable[ParamsT, Coroutine[Any, Any, LogClient]],
) -> Callable[ParamsT, Opening]:
    @functools.wraps(function)
    def open_(*args: ParamsT.args, **keywords: ParamsT.kwargs) -> Opening:
        return Opening(functools.partial(function, *args, **keywords))

    return open_


@_awaited_or_entered
async def open_log(
    system: System,
    url: str,
    *,
    name: str,
    host: int | str | None = None,
    durability: str = "full",
    limits: JournalLimits | None = None,
) -> LogClient:
    """Start the one writer of a log as a supervised actor, and return a client of it.

    Await the call, or enter it by `async with`: the end closes the client, and the log continues
    with the system. Other programs get a client by `LogClient(await system.lookup(name))`.

    `url` names the store, which must be reachable from the writer's host: a file needs a host of
    this machine. `host` is the number or the name of that host. `durability` is `full`, `normal`
    or `off`; see `Settings.durability`. An earlier writer of the same log is fenced.

    Raises `SpecError` for a URL that names no store, `NameTaken`, and `ActorStartFailed` when the
    store does not open.
    """
    make_store = functools.partial(event_store, url, durability=durability)
    make_store()  # Refuse a wrong URL here, not on a host.
    ref = await system.spawn(
        props(LogActor, make_store, limits), name=name, host=host, restart=Restart.PERMANENT
    )
    client = LogClient(ref)
    await client.open()
    return client


def projector_spec(
    projection: Callable[[], Projection[Any]],
    *,
    log: LogClient | Ref[Any] | str,
    models: str,
    name: str | None = None,
    make_codec: Callable[[], EventCodec] | None = None,
    retries: int | None = 0,
    limits: ProjectorLimits | None = None,
    restart: Restart = Restart.PERMANENT,
    backoff: Backoff | None = None,
    placement: Placement | None = None,
    register: bool = False,
    durability: str = "full",
) -> ActorSpec:
    """A projector as a child of a supervision tree; a restart loses no event.

    `projection` is the class, or a function that makes one. `log` is a log actor (its client or
    reference), or the URL of a store to follow. `models` is the URL of the read models. Both
    stores must be reachable from the child's host. `name` defaults to the name of the projection.
    `make_codec`, `retries` and `limits` are those of `Projector`; an error that stops the
    projector is a failure of this child.

    Raises `SpecError` for a URL that names no store, and for a projection without a name.
    """
    at: Ref[Any] | Callable[[], EventStore]
    if isinstance(log, str):
        event_store(log)  # Refuse a wrong URL here, not on a host.
        at = functools.partial(event_store, log)
    else:
        at = log.ref if isinstance(log, LogClient) else log
    read_model_store(models)
    made = props(
        ProjectorActor,
        projection,
        at,
        functools.partial(read_model_store, models, durability=durability),
        make_codec=make_codec,
        retries=retries,
        limits=limits,
    )
    return ActorSpec(
        name or projection().name,
        made,
        restart=restart,
        backoff=backoff,
        register=register,
        placement=placement,
    )


@contextlib.asynccontextmanager
async def open_states(
    url: str,
    *,
    cache: str = "",
    publish: Publish | None = None,
    owner: str = "main",
    ttl_s: float = TTL_S,
    durability: str = "full",
    system: System | None = None,
) -> AsyncIterator[AgentStateManager]:
    """Open the states in the store of a URL; the end of `async with` closes them.

    A cache in this process keeps states for `ttl_s` seconds; with a Redis URL as `cache`, Redis
    is a second tier. `publish` is called with each change. With `system`, the metrics of its
    driver include the figures of the states and of the cache. See `AgentStateManager` for the
    guarantees.

    Raises `SpecError` for a URL that names no store, and the errors of the store when it opens.
    """
    tiers = open_cache(cache, newest_wins=True)
    store = state_store(url, durability=durability)
    states = AgentStateManager(store, tiers, publish, owner=owner, ttl_s=ttl_s)
    end_measuring = None if system is None else measure(system, states, tiers)
    try:
        await states.open()
        yield states
    finally:
        if end_measuring is not None:
            end_measuring()
        await states.close()
        await tiers.close()
        store.close()
