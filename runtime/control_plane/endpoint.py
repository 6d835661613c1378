"""The root's endpoint: cell 0 of the control host, where hosts report to the root."""

from typing import TYPE_CHECKING, ClassVar

from callboard.actors.kernel.actor import handler
from callboard.actors.kernel.cell import Recipe
from callboard.actors.kernel.host.control_actor import ControlActor
from callboard.actors.kernel.host.host import Host
from callboard.messages.control.control_plane import ActorEnded
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
from callboard.messages.control.views import ActorHistories, CallboardView, QueryActor, QuerySystem
from callboard.messages.core.ref import Address

from .views import SystemViews

if TYPE_CHECKING:
    from .root import Root

__all__ = ["RootEndpoint", "open_root_endpoint"]


class RootEndpoint(ControlActor):
    """The control actor of the control host, which also knows the root."""

    concurrency: ClassVar[int] = 4_096
    """Starts wait for start hooks; neither a look nor another start waits for them."""

    def __init__(self, host: Host, root: "Root", system_name: str) -> None:
        super().__init__(host)
        self._root = root
        self._looks = SystemViews(host, root, system_name)

    @handler
    async def ended(self, report: ActorEnded) -> None:
        """A top-level actor ended for good on its host."""
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
        """Give parts of a pool other sizes."""
        await self._root.registrar.resize(request)
        return ResizedPool()

    @handler
    async def subscribe(self, request: SubscribeAllDeadLetters) -> AllDeadLettersSubscribed:
        """Send the dead letters of all hosts to an actor."""
        await self._root.subscribe_dead_letters(request.subscriber)
        return AllDeadLettersSubscribed()

    @handler
    async def query_system(self, request: QuerySystem) -> CallboardView:
        """Every host that answers, and a line for each that does not."""
        return await self._looks.system(request)

    @handler
    async def query_any_actor(self, request: QueryActor) -> ActorHistories:
        """Why an actor or a host is as it is."""
        return await self._looks.actor(request)


def open_root_endpoint(host: Host, root: "Root", system_name: str) -> None:
    """Put the endpoint where the control host's control actor was."""
    host.run_control(Recipe(RootEndpoint, (host, root, system_name), None, "desk"))
