"""The root's endpoint: cell 0 of the control host, where hosts report to the root."""

import contextlib
from typing import TYPE_CHECKING, ClassVar

from callboard.actors.kernel.actor import handler
from callboard.actors.kernel.cell import Recipe
from callboard.actors.kernel.host.control_actor import ControlActor
from callboard.actors.kernel.host.host import Host
from callboard.messages.control.control_plane import CONTROL_CELL, ActorEnded, WantDirectory
from callboard.messages.control.spawning import (
    AllDeadLettersSubscribed,
    ResizedPool,
    ResizePool,
    Spawn,
    Spawned,
    StopActor,
    StoppedActor,
    SubscribeAllDeadLetters,
)
from callboard.messages.control.views import (
    ActorHistories,
    ActorsPage,
    CallboardView,
    QueryActor,
    QueryActors,
    QuerySystem,
)
from callboard.messages.core.errors import CallboardError
from callboard.messages.core.ref import Address

from .views import SystemViews

if TYPE_CHECKING:
    from .root import Root

__all__ = ["RootEndpoint", "open_root_endpoint"]


class RootEndpoint(ControlActor):
    """The control actor of the control host, which also knows the root."""

    concurrency: ClassVar[int] = 4_096
    """A start waits for start hooks; queries and other starts must not wait for it."""

    def __init__(self, host: Host, root: "Root", system_name: str) -> None:
        super().__init__(host)
        self._root = root
        self._views = SystemViews(host, root, system_name)

    @handler
    async def ended(self, report: ActorEnded) -> None:
        """Forget a top-level actor that has ended for good on its host."""
        self._root.registrar.forget(Address(report.slot, report.cell))

    @handler
    async def spawn(self, request: Spawn) -> Spawned:
        """Start top-level actors."""
        return await self._root.registrar.spawn(request)

    @handler
    async def stop_one(self, request: StopActor) -> StoppedActor:
        """Stop a top-level actor in order."""
        address = Address(request.slot, request.cell)
        if request.drains:
            await self._root.registrar.drain_actor(address)
        else:
            await self._root.registrar.stop_actor(address)
        return StoppedActor()

    @handler
    async def resize(self, request: ResizePool) -> ResizedPool:
        """Change the sizes of a pool's parts."""
        await self._root.registrar.resize(request)
        return ResizedPool()

    @handler
    async def subscribe(self, request: SubscribeAllDeadLetters) -> AllDeadLettersSubscribed:
        """Send the dead letters of all hosts to an actor."""
        await self._root.subscribe_dead_letters(request.subscriber)
        return AllDeadLettersSubscribed()

    @handler
    async def want_directory(self, request: WantDirectory) -> None:
        """Send the whole directory to a host that has missed a change."""
        with contextlib.suppress(CallboardError):  # It may have ended meanwhile.
            self._host.tell(Address(request.slot, CONTROL_CELL), self._root.registrar.directory())

    @handler
    async def query_system(self, request: QuerySystem) -> CallboardView:
        """View every host; a host that does not answer has a line with the reason."""
        return await self._views.system(request)

    @handler
    async def query_all_actors(self, request: QueryActors) -> ActorsPage:
        """A page of the actors of all hosts."""
        return await self._views.actors(request)

    @handler
    async def query_any_actor(self, request: QueryActor) -> ActorHistories:
        """The history of an actor or a host."""
        return await self._views.actor(request)


def open_root_endpoint(host: Host, root: "Root", system_name: str) -> None:
    """Replace the control actor of the control host by the endpoint."""
    host.run_control(Recipe(RootEndpoint, (host, root, system_name), None, "root-endpoint"))
