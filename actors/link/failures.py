"""Errors on the wire: plain data, whatever somebody has put into their details."""

from typing import Final

import msgpack

from callboard.messages.errors import CallboardError, HostLost, error_from_data

__all__ = ["decode_error", "encode_error"]

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
