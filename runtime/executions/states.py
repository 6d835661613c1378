"""The states of a system's executions, fed from its journal.

async with callboard.start(journal="jobs.db", states="states.db") as system:
    (state,) = await system.states.synchronise([execution.id])
"""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from callboard.actors.journal.journal import Journal
from callboard.actors.kernel.inspection.metric_sources import Source
from callboard.actors.state.feed import FeedStatistics, StateFeed
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
    """The states of all executions in the journal, running and ended. See `System.states`."""

    def __init__(self, journal: Journal, models: ReadModelStore, cache: "TieredCache") -> None:
        self._journal = journal
        self._models = models
        self._cache = cache
        self._subscribers: dict[int, Subscriber] = {}
        self._number = 0
        self.manager: AgentStateManager
        self.feed: StateFeed

    async def synchronise(self, execution_ids: Sequence[str]) -> list[AgentExecutionState | None]:
        """The states of these executions; None for an unknown one.

        A state is about a quarter of a second behind. See `AgentStateManager.synchronise`.
        """
        return await self.manager.synchronise(execution_ids)

    async def caught_up(self, timeout_s: float) -> None:
        """Wait until the states include all present events of the journal.

        Raises `DeadlineExceeded` after `timeout_s` seconds.
        """
        await self.feed.wait_for(self._journal.head, timeout_s)

    def on_change(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` on the event loop with each `agent.state.changed`.

        Returns a function that ends the subscription.
        """
        self._number = number = self._number + 1
        self._subscribers[number] = subscriber

        def end() -> None:
            self._subscribers.pop(number, None)

        return end

    async def publish(self, changes: Sequence[AgentStateChanged]) -> None:
        """Call all subscribers; a subscriber that raises gets the next change too."""
        for change in changes:
            for subscriber in tuple(self._subscribers.values()):
                try:
                    subscriber(change)
                except Exception:
                    LOGGER.exception("a subscriber of states failed with %s", change)

    def statistics(self) -> tuple[FeedStatistics, StateStatistics]:
        """The figures of the feed and of the state manager."""
        return self.feed.statistics(), self.manager.statistics()

    def sources(self) -> Sequence[Source]:
        """The metric sources of the feed, the manager and the cache."""
        return self.feed.reading, self.manager.reading, self._cache.reading

    async def close(self) -> None:
        """Feed the events of the journal, and close the stores; logs a store that fails."""
        await self.feed.close()
        try:
            await self.manager.close()
        except CallboardError as error:
            LOGGER.warning("the states of executions are behind the journal: %s", error)
        await self._cache.close()
        self._models.close()


async def open_system_states(settings: Settings, journal: Journal) -> SystemStates | None:
    """Open the states that the settings name; None without. Raises the errors of the stores."""
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
