"""The states of a system's executions: fed from its journal, read and told of here.

async with callboard.start(journal="jobs.db", states="states.db") as system:
    (state,) = await system.states.synchronise([execution.id])
"""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from callboard.actors.journal.journal import Journal
from callboard.actors.kernel.inspection.metric_sources import Source
from callboard.actors.state.feed import FeedStatistics, StateFeed
from callboard.actors.state.metrics import reading_of as states_reading
from callboard.actors.state.states import AgentStateManager, StateStatistics
from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.states import AgentExecutionState, AgentStateChanged
from callboard.messages.storage.stores import ReadModelStore

from ..hosting.settings import Settings

if TYPE_CHECKING:
    from ..cache.tiers import TieredCache

__all__ = ["SystemStates", "open_system_states"]

LOGGER: Final = logging.getLogger("callboard")
Subscriber = Callable[[AgentStateChanged], None]
OFF: Final = "off"


class SystemStates:
    """What the journal of this system says of its executions, running and ended ones."""

    def __init__(self, journal: Journal, models: ReadModelStore, cache: "TieredCache") -> None:
        self._journal = journal
        self._models = models
        self._cache = cache
        self._subscribers: dict[int, Subscriber] = {}
        self._number = 0
        self.manager: AgentStateManager
        self.feed: StateFeed

    async def synchronise(self, execution_ids: Sequence[str]) -> list[AgentExecutionState | None]:
        """See `AgentStateManager.synchronise`; a state is about a quarter of a second behind."""
        return await self.manager.synchronise(execution_ids)

    async def caught_up(self, timeout_s: float) -> None:
        """Wait until the states show all that is in the journal now. Raises `DeadlineExceeded`."""
        await self.feed.wait_for(self._journal.head, timeout_s)

    def on_change(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` on the loop with each `agent.state.changed`; gives what ends that."""
        self._number = number = self._number + 1
        self._subscribers[number] = subscriber

        def end() -> None:
            self._subscribers.pop(number, None)

        return end

    async def publish(self, changes: Sequence[AgentStateChanged]) -> None:
        """Tell all subscribers; one that raises hears of the next change all the same."""
        for change in changes:
            for subscriber in tuple(self._subscribers.values()):
                try:
                    subscriber(change)
                except Exception:
                    LOGGER.exception("a subscriber of states failed with %s", change)

    def statistics(self) -> tuple[FeedStatistics, StateStatistics]:
        """How the feed stands, and what the manager has done."""
        return self.feed.statistics(), self.manager.statistics()

    def sources(self) -> Sequence[Source]:
        """What tells the metrics of all parts."""
        from ..cache.metrics import reading_of as cache_reading

        return (
            self.feed.reading,
            lambda: states_reading(self.manager),
            lambda: cache_reading(self._cache),
        )

    async def close(self) -> None:
        """Feed what is in the journal, and let go of the stores; a store that fails is logged."""
        await self.feed.close()
        try:
            await self.manager.close()
        except CallboardError as error:
            LOGGER.warning("The states of executions are behind: %s", error)
        await self._cache.close()
        self._models.close()


async def open_system_states(settings: Settings, journal: Journal) -> SystemStates | None:
    """The states that the settings name; None when there are to be none. Raises what stores do."""
    if settings.states == OFF:
        return None
    from ..cache.tiers import open_cache  # A driver without states loads neither store nor cache.
    from ..stores.choose import read_model_store, state_store

    models = read_model_store(settings.states, durability=settings.durability)
    store = state_store(settings.states, durability=settings.durability)
    cache = open_cache(settings.states_cache, newest_wins=True)
    states = SystemStates(journal, models, cache)
    states.manager = AgentStateManager(store, cache, states.publish, owner=journal.store.name)
    try:
        models.open()
        await states.manager.open()
        states.feed = StateFeed(journal, states.manager, models, source=journal.store.name)
        await states.feed.start()
    except BaseException:
        await states.manager.close()
        await cache.close()
        models.close()
        raise
    return states
