"""Server-sent events: one channel, for `curl` and services.

    id: epoch:12
    retry: 2000

    id: epoch:13
    event: execution.state_changed
    data: {…}

The first block has no event: it gives a client the position to come back to. `event: reset` says
that the client's own position is lost, so that it has missed events. `event:
dropped` counts what the client did not get. `event: end` is the last one, with a code and a
reason. Source: the event stream format of the HTML standard.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from callboard.actors.streaming.protocol import (
    Began,
    Command,
    Dropped,
    Failed,
    Message,
    Position,
    Publication,
    Push,
    Reply,
    Subscribed,
    Unsubscribed,
)

from .payload import one_line
from .plain import text_of

__all__ = ["COMMENT", "ServerSentEvents", "end"]

RETRY: Final = b"retry: 2000\n\n"
"""How long a client waits before it comes back, in milliseconds."""
COMMENT: Final = b": \n\n"
"""Keeps the connection alive; clients skip it."""
LINE_ENDS: Final = {ord("\n"): " ", ord("\r"): " ", 0: " "}
"""What would end a field; clients also skip an id with a null character in it."""


class ServerSentEvents:
    """The codec of one stream. `failed` says why the hub refused it, before any byte is sent."""

    name: Final = "sse"
    is_shared: Final = True
    answers_pings: Final = False

    def __init__(self) -> None:
        self.failed: Failed | None = None
        self.subscribed: Subscribed | None = None
        self.is_over = False
        """Whether the subscription has ended: what waits now is the last of the stream."""

    def reply(self, number: int, command: Command, reply: Reply | None) -> bytes:
        """The beginning of the stream, with the publications that the client has missed."""
        if isinstance(reply, Failed):
            self.failed = reply
        if not isinstance(reply, Subscribed):
            return b""
        self.subscribed = reply
        begun = RETRY if reply.position is None else _place(reply.position) + RETRY
        parts = [begun]
        if reply.was_recovering and not reply.recovered:
            parts.append(_event("reset", b"{}"))
        if reply.data:
            parts.append(_event("snapshot", reply.data))
        parts += map(self.push, reply.publications)
        return b"".join(parts)

    def push(self, push: Push) -> bytes:
        """A push, as an event."""
        match push:
            case Publication():
                at = Position(push.offset, push.epoch) if push.offset else None
                return _event(push.tags.get("type", "message"), push.data, at)
            case Message():
                return _event("note", push.data)
            case Dropped():
                more = {"from": push.first, "to": push.last, "reason": push.reason}
                return _event("dropped", _json(count=push.count, **more))
            case Began():
                return b""  # A stream has one channel.
            case Unsubscribed():
                self.is_over = True
                return end(push.code, push.reason)
            case joined_or_left:
                kind = type(joined_or_left).__name__.lower()
                return _event(kind, _json(client=joined_or_left.client.client))

    def ping(self) -> bytes:
        """A comment."""
        return COMMENT

    def join(self, parts: Sequence[bytes]) -> bytes:
        """Events one after another."""
        return b"".join(parts)


def end(code: int, reason: str) -> bytes:
    """The last event of a stream."""
    return _event("end", _json(code=code, reason=reason))


def _event(kind: str, data: bytes, at: Position | None = None) -> bytes:
    place = b"" if at is None else _place(at)
    name = kind.translate(LINE_ENDS).encode("utf-8", "replace")
    return b"%bevent: %b\ndata: %b\n\n" % (place, name, one_line(data))


def _place(at: Position) -> bytes:
    return f"id: {text_of(at).translate(LINE_ENDS)}\n".encode("utf-8", "replace")


def _json(**fields: Any) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()
