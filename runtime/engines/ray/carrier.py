"""Frames as Ray calls: the carrier between any two nodes, where no socket is."""

from collections.abc import Sequence
from typing import Any, Final

import ray.exceptions

from callboard.messages.core.errors import HostLost
from callboard.messages.ports import TransportBroken

__all__ = ["NOT_CONNECTED", "RayCarrier", "describe", "host_lost", "pack_answer", "unpack_answer"]

NOT_CONNECTED: Final = None
"""The answer of a host that does not know the sender's incarnation yet."""


def pack_answer(frame: bytes, references: Sequence[Any]) -> Any:
    """A frame and its references as one return value; without references just the bytes."""
    return (frame, list(references)) if references else frame


def unpack_answer(answer: Any) -> tuple[bytes, Sequence[Any]]:
    """The frame and the references of a return value."""
    if isinstance(answer, bytes):
        return answer, ()
    frame, references = answer
    return frame, references


def host_lost(name: str, why: str) -> HostLost:
    """The error for a dead host."""
    return HostLost(f"{name} is lost: {why}", advice="Its actors come back on a standby.")


def describe(error: BaseException) -> str:
    """Ray's error in one line; its own text may fill a page."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"


class RayCarrier:
    """Delivers frames to one Ray actor."""

    is_stream: Final = False

    __slots__ = ("_deliver", "_name")

    def __init__(self, handle: Any, name: str = "a host") -> None:
        self._deliver = handle.deliver
        self._name = name

    def write(self, frame: bytes) -> bool:
        """Always False: a Ray call has to be awaited."""
        return False

    def close(self) -> None:
        """Does nothing: there is no connection."""

    async def deliver(self, frame: bytes, references: Sequence[Any]) -> tuple[bytes, Sequence[Any]]:
        """Hand a frame over; see `FrameCarrier`."""
        try:
            if references:
                # In a list they stay references; Ray would fetch them as plain arguments.
                answer = await self._deliver.remote(frame, list(references))
            else:
                answer = await self._deliver.remote(frame)
        except ray.exceptions.ActorDiedError as error:
            raise host_lost(self._name, describe(error)) from None
        except (ray.exceptions.RayError, ConnectionError, OSError) as error:
            raise TransportBroken(f"{type(error).__name__}: {error}") from error
        if answer is NOT_CONNECTED:
            raise TransportBroken("the peer does not know this incarnation yet")
        return unpack_answer(answer)
