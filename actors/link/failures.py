"""Errors on the wire: plain data, whatever somebody has put into their details."""

from typing import Final

import msgpack

from callboard.messages.errors import (
    ActorNotFound,
    ActorStopped,
    CallboardError,
    HostLost,
    error_from_data,
)

__all__ = ["decode_error", "encode_error", "leaves_for_a_while", "missed_here"]

ERROR_BYTES_MAX: Final = 60_000


def encode_error(error: CallboardError) -> bytes:
    """An error for the wire; details that cannot travel are left out, and it says so."""
    data = error.to_data()
    try:
        packed: bytes = msgpack.packb(data, unicode_errors="backslashreplace")
        if len(packed) <= ERROR_BYTES_MAX:
            return packed
    except (TypeError, ValueError, OverflowError):
        pass
    plain = {
        str(key): value
        for key, value in error.details.items()
        if isinstance(value, str | int | float | bool) and len(str(value)) < ERROR_BYTES_MAX // 4
    }
    return bytes(msgpack.packb({**data, "details": plain}, unicode_errors="backslashreplace"))


def decode_error(body: bytes) -> CallboardError:
    """An error from the wire."""
    try:
        return error_from_data(msgpack.unpackb(body))
    except Exception as broken:  # noqa: BLE001 - bytes from outside may be anything
        return HostLost(
            f"another host reported an error that does not decode: {broken!r}.",
            advice="All hosts must run the same release of Callboard.",
        )


def missed_here(slot: int, error: CallboardError) -> int | None:
    """The cell that an ask did not find, or found stopped, on this host; None for other errors."""
    if not isinstance(error, ActorNotFound | ActorStopped) or error.details.get("slot") != slot:
        return None
    cell = error.details.get("cell")
    return cell if isinstance(cell, int) else None


def leaves_for_a_while(name: str, error: CallboardError) -> HostLost:
    """The same for an asker, where the host is stopped only to be started again."""
    return HostLost(
        f"{name} is being restarted with its group: {error.message}",
        advice="Its actors come back at the same references; ask again if a repetition is safe.",
        may_have_run=bool(error.details.get("may_have_run", True)),
    )
