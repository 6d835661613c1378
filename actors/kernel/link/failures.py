"""Errors of the link between two hosts, and errors on the wire.

On the wire an error is plain data, whatever its details hold.
"""

from typing import Final, TypeGuard

import msgpack

from callboard.messages.core.errors import (
    ActorNotFound,
    ActorStopped,
    AskError,
    CallboardError,
    HostLost,
    error_from_data,
)

__all__ = [
    "actor_not_found",
    "decode_error",
    "encode_error",
    "is_missing_here",
    "restarting_host_error",
]

ERROR_BYTES_MAX: Final = 60_000


def encode_error(error: CallboardError) -> bytes:
    """An error for the wire, without its large details when it would be too large."""
    data = error.to_data()
    packed: bytes = msgpack.packb(data)
    if len(packed) <= ERROR_BYTES_MAX:
        return packed
    small = {
        key: value
        for key, value in data["details"].items()
        if isinstance(value, str | int | float | bool) and len(str(value)) < ERROR_BYTES_MAX // 4
    }
    return bytes(msgpack.packb({**data, "details": small}))


def decode_error(body: bytes) -> CallboardError:
    """An error from the wire."""
    try:
        return error_from_data(msgpack.unpackb(body))
    except Exception as broken:  # noqa: BLE001 - bytes from outside may be anything
        return HostLost(
            f"another host reported an error that does not decode: {broken!r}.",
            advice="All hosts must run the same release of Callboard.",
        )


def actor_not_found(slot: int, number: int) -> CallboardError:
    """The error for an asker whose address names no actor."""
    return ActorNotFound(
        f"there is no actor at {slot}/{number}.",
        advice="It has stopped: look it up by name, or spawn it again.",
        may_have_run=False,
        slot=slot,
        cell=number,
    )


def is_missing_here(error: CallboardError, slot: int) -> TypeGuard[AskError]:
    """Whether an ask did not find its actor on this host, or found it stopped."""
    return (
        isinstance(error, ActorNotFound | ActorStopped) and error.details.get("slot", slot) == slot
    )


def restarting_host_error(name: str, error: AskError) -> HostLost:
    """The error for an asker whose actor stopped because its host restarts."""
    return HostLost(
        f"{name} is being restarted with its group: {error.message}",
        advice="Its actors start again at the same references; ask again if a repetition is safe.",
        may_have_run=error.may_have_run,
    )
