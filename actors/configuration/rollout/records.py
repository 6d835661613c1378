"""What the journal keeps of roll-outs: the events in one stream, each content in one of its own.

A content is stored before the first event that names its version.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import UsageError
from callboard.messages.storage.events import NO_STREAM

from ...events.codec import EventCodec, event_id
from ...events.log import AppendLog
from .events import EVENTS
from .target import version_of

__all__ = ["ContentStored", "RolloutRecords"]

STREAM: Final = "callboard.configuration"
PAGE_EVENTS: Final = 1_000
CACHED_MAX: Final = 64


class ContentStored(Contract, name="callboard.configuration.content_stored"):
    """The content of one version of a component."""

    version: str
    content: bytes


class RolloutRecords:
    """The events and contents of one controller. Belongs to one event loop."""

    def __init__(self, log: AppendLog) -> None:
        self._log = log
        self._codec = EventCodec((*EVENTS, ContentStored))
        self._version = NO_STREAM
        self._contents: OrderedDict[str, bytes] = OrderedDict()

    async def read(self) -> list[Contract]:
        """All events. Raises what the log raises, and `UnknownEvent` for a later release's."""
        found: list[Contract] = []
        after = 0
        while page := await self._log.read_stream(STREAM, after=after, limit=PAGE_EVENTS):
            found += [each.body for each in self._codec.decode_all(page) if each.body is not None]
            after = page[-1].version
        self._version = after or NO_STREAM
        return found

    async def append(self, events: Sequence[Contract]) -> None:
        """Store events durably. Raises `WrongExpectedVersion` when somebody else has written."""
        packed = [self._codec.encode(event) for event in events]
        appended = await self._log.append(STREAM, packed, self._version)
        self._version = appended.version

    async def store(self, content: bytes) -> str:
        """Store a content durably; gives its version."""
        version = version_of(content)
        if version not in self._contents:
            event = ContentStored(version=version, content=content)
            packed = self._codec.encode(event, id=event_id(STREAM, version))
            if not await self._log.read_stream(_stream_of(version), limit=1):
                await self._log.append(_stream_of(version), [packed])
            self._keep(version, content)
        return version

    async def content(self, version: str) -> bytes:
        """A stored content. Raises `UsageError` when there is none, or it has changed."""
        found = self._contents.get(version)
        if found is not None:
            return found
        page = await self._log.read_stream(_stream_of(version), limit=1)
        body = self._codec.decode(page[0]) if page else None
        if body is None or not isinstance(body.body, ContentStored):
            raise UsageError(
                f"no content of version {version[:12]!r} is stored.",
                advice="Deploy its package once more.",
            )
        content = body.body.content
        if version_of(content) != version:
            raise UsageError(
                f"the stored content of version {version[:12]} has changed.",
                advice="Restore the journal from a backup.",
            )
        self._keep(version, content)
        return content

    def _keep(self, version: str, content: bytes) -> None:
        self._contents[version] = content
        if len(self._contents) > CACHED_MAX:
            self._contents.popitem(last=False)


def _stream_of(version: str) -> str:
    return f"{STREAM}/{version}"
