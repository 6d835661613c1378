"""Centrifugo's protocol as JSON: objects joined by line breaks in one text frame.

Source: the framing and names of Centrifugo's client protocol, version 2.
"""

import functools
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii
from typing import Any, Final

from callboard.actors.streaming.protocol import Command, Push, Reply

from .fields import Raw, command_of, fields_of_push, fields_of_reply
from .payload import BadFrame, dump, one_line, parse

__all__ = ["COMMANDS_MAX", "CentrifugoJson"]

COMMANDS_MAX: Final = 256
"""Commands in one frame: twice the channels that a connection may have."""


class CentrifugoJson:
    """The codec of browsers and services."""

    name: Final = "centrifugo-json"
    is_shared: Final = True
    is_text: Final = True
    answers_pings: Final = True

    def decode(self, frame: bytes) -> list[tuple[int, Command | None]]:
        """The numbered commands of a frame; None is a pong. Raises `BadFrame`."""
        lines = [line for line in frame.split(b"\n") if line.strip()]
        if not 0 < len(lines) <= COMMANDS_MAX:
            raise BadFrame(f"A frame does not have 1 to {COMMANDS_MAX} commands.")
        return [command_of(_with_payloads(parse(line))) for line in lines]

    def reply(self, number: int, command: Command, reply: Reply | None) -> bytes:
        """The answer to a command, without a line break."""
        return _write(fields_of_reply(number, command, reply))

    def push(self, push: Push) -> bytes:
        """A push, without a line break."""
        return _write(fields_of_push(push))

    def ping(self) -> bytes:
        """An empty object, which clients answer with another."""
        return b"{}"

    def join(self, parts: Sequence[bytes]) -> bytes:
        """Replies, pushes and pings as one frame."""
        return b"\n".join(parts)


def _with_payloads(fields: Any) -> Any:
    """A command whose payload is bytes again: any JSON, in a field of the same name everywhere."""
    for request in fields.values() if isinstance(fields, dict) else ():
        if isinstance(request, dict) and request.get("data") is not None:
            request["data"] = Raw(dump(request["data"]))
    return fields


def _write(value: Any) -> bytes:
    """Fields as JSON. They hold these types only; `json.dumps` cannot copy a payload."""
    kind = type(value)
    if kind is dict:
        return b"{%b}" % b",".join([_key(name) + _write(part) for name, part in value.items()])
    if kind is Raw:
        return one_line(value.data)
    if kind is list:
        return b"[%b]" % b",".join(map(_write, value))
    if kind is bool:
        return b"true" if value else b"false"
    return encode_basestring_ascii(value).encode() if kind is str else b"%d" % value


@functools.lru_cache(maxsize=1_024)
def _key(name: str) -> bytes:
    return encode_basestring_ascii(name).encode() + b":"
