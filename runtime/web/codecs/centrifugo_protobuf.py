"""Centrifugo's protocol as Protobuf: messages, each after its length, in one binary frame."""

from collections.abc import Sequence
from typing import Final

from callboard.actors.streaming.protocol import Command, Push, Reply

from .centrifugo_json import COMMANDS_MAX
from .fields import Fields, command_of, fields_of_push, fields_of_reply
from .payload import FRAME_BYTES_MAX, BadFrame
from .schema import decode_message, encode_message, encode_varint, read_varint

__all__ = ["CentrifugoProtobuf"]


class CentrifugoProtobuf:
    """The codec of phones."""

    name: Final = "centrifugo-protobuf"
    is_shared: Final = True
    is_text: Final = False
    answers_pings: Final = True

    def decode(self, frame: bytes) -> list[tuple[int, Command | None]]:
        """The numbered commands of a frame; None is a pong. Raises `BadFrame`."""
        if not 0 < len(frame) <= FRAME_BYTES_MAX:
            raise BadFrame(f"A frame does not have 1 to {FRAME_BYTES_MAX} bytes.")
        found: list[tuple[int, Command | None]] = []
        at = 0
        while at < len(frame):
            length, at = read_varint(frame, at)
            if at + length > len(frame) or len(found) == COMMANDS_MAX:
                raise BadFrame(f"A frame ends within a command, or has over {COMMANDS_MAX}.")
            found.append(command_of(decode_message("Command", frame[at : at + length])))
            at += length
        return found

    def reply(self, number: int, command: Command, reply: Reply | None) -> bytes:
        """The answer to a command, after its length."""
        fields = fields_of_reply(number, command, reply)
        return _after_its_length(fields)

    def push(self, push: Push) -> bytes:
        """A push, after its length."""
        return _after_its_length(fields_of_push(push))

    def ping(self) -> bytes:
        """An empty message, which clients answer with another."""
        return b"\0"

    def join(self, parts: Sequence[bytes]) -> bytes:
        """Replies, pushes and pings as one frame."""
        return b"".join(parts)


def _after_its_length(fields: Fields) -> bytes:
    data = encode_message("Reply", fields)
    return encode_varint(len(data)) + data
