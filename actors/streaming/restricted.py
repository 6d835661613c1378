"""What a client gets of a channel that a rule of the server restricts for it. Pure.

Such a client gets the events that pass, from now on, and nothing else. A position would count the
events that do not pass, a snapshot and a history would have lost some of their places to them, and
presence would say for whom else they are. So the client sees the same bytes, whether or not
events happen that it may not see. It cannot resume.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from callboard.messages.control.filters import StreamFilter
from callboard.messages.core.errors import UsageError

from .filters import Test, compiled
from .ports import Codec
from .protocol import Command, Dropped, Publication, Push, Reply

__all__ = ["RestrictedCodec", "check_rule", "test_of"]


def check_rule(condition: StreamFilter) -> None:
    """Raises `UsageError` for a condition that the hub could not evaluate."""
    compiled(condition)


def test_of(rules: Sequence[StreamFilter], own: StreamFilter | None) -> Test | None:
    """A test of the server's rules and then of the client's own filter; None for neither.

    A rule that is wrong lets nothing pass. Raises `UsageError` for a wrong filter of the client,
    which has the limits of a filter for itself: its refusal says nothing of the rules.
    """
    tests = [*map(_compiled_rule, rules), *(() if own is None else (compiled(own),))]
    if len(tests) < 2:
        return tests[0] if tests else None
    return lambda tags: all(test(tags) for test in tests)


def _compiled_rule(condition: StreamFilter) -> Test:
    try:
        return compiled(condition)
    except UsageError:
        return lambda _tags: False


class RestrictedCodec:
    """A codec that leaves positions out of what is pushed."""

    def __init__(self, codec: Codec) -> None:
        self._codec: Final = codec
        self.name: Final = f"{codec.name} without positions"
        self.is_shared: Final = codec.is_shared
        self.answers_pings: Final = codec.answers_pings

    def reply(self, number: int, command: Command, reply: Reply | None) -> bytes:
        """See `Codec`."""
        return self._codec.reply(number, command, reply)

    def push(self, push: Push) -> bytes:
        """See `Codec`."""
        if isinstance(push, Publication):
            push = replace(push, offset=0, epoch="")
        elif isinstance(push, Dropped):
            push = replace(push, first=0, last=0)
        return self._codec.push(push)

    def ping(self) -> bytes:
        """See `Codec`."""
        return self._codec.ping()

    def join(self, parts: Sequence[bytes]) -> bytes:
        """See `Codec`."""
        return self._codec.join(parts)
