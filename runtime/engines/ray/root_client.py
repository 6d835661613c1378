"""A driver's client of a root that is a Ray actor."""

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

import ray
import ray.exceptions

from callboard.messages.core.errors import HostLost
from callboard.messages.ports import FrameCarrier

from ...detached.ports import JoinReply, JoinRequest, Pulled, RootAway
from ...transport.sockets import SocketAddress
from ...transport.stream_carrier import StreamCarrier, UnixWay
from .carrier import RayCarrier, unpack_answer

__all__ = ["RayRootClient"]

LOGGER: Final = logging.getLogger("callboard.driver")


class RayRootClient:
    """A `RootClient` by Ray calls to the root's actor, which Ray restarts."""

    def __init__(self, root: Any, system: str) -> None:
        self._root = root
        self._system = system

    async def _answer(self, reference: Any) -> Any:
        try:
            return await reference
        except ray.exceptions.ActorDiedError:
            raise HostLost(
                f"the system {self._system!r} has ended.",
                advice="It was stopped, or its root gave up: see the logs of the root.",
            ) from None
        except ray.exceptions.RayError as error:
            raise RootAway(f"{type(error).__name__}: {error}") from error

    async def join(self, join_request: JoinRequest, known_epoch: int) -> JoinReply | None:
        """See `RootClient`."""
        join_reply: JoinReply | None = await self._answer(
            self._root.join.remote(join_request, known_epoch)
        )
        return join_reply

    async def pull(self, slot: int, bookkeeping: bytes) -> Pulled | None:
        """See `RootClient`."""
        answers = await self._answer(self._root.pull.remote(slot, bookkeeping))
        return None if answers is None else [unpack_answer(answer) for answer in answers]

    async def leave(self, slot: int) -> None:
        """See `RootClient`."""
        await self._answer(self._root.leave.remote(slot))

    def beat(self, slot: int, every_s: float) -> Callable[[], None]:
        """See `RootClient`: a thread sends the heartbeats, also of a driver that computes."""
        left = threading.Event()

        def beat() -> None:
            while not left.wait(every_s):
                try:
                    self._root.heard.remote(slot)
                except Exception:  # noqa: BLE001 - Ray is shut down: the driver ends
                    return

        threading.Thread(target=beat, name="callboard-driver-heartbeat", daemon=True).start()
        return left.set

    def carrier(self, join_reply: JoinReply, mine: SocketAddress | None) -> FrameCarrier:
        """See `RootClient`: a socket on the same node, Ray calls to another."""
        by_call = RayCarrier(self._root, "the root")
        address = join_reply.control_address
        if address is None or mine is None or address.node != mine.node:
            return by_call
        return StreamCarrier(UnixWay(address), by_call)
