"""A store that survives every simulated process, with faults, and actors that use it."""

import asyncio
from typing import ClassVar

from callboard.actors.kernel.actor import Overflow, handler
from callboard.actors.kernel.context import Context
from callboard.actors.keyed.actor import KeyedActor
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import StateConflict
from callboard.messages.storage.errors import WriterFenced
from callboard.messages.storage.keyed_stores import EncodedState, LoadedState, MemoryStore


class Disk:
    """One store for all processes of a world; `wipe` it before each run."""

    kept: ClassVar[MemoryStore] = MemoryStore()
    saves: ClassVar[list[float]] = []
    """The time of each request for a save, on the clock of the asking host."""
    load_failures: ClassVar[int] = 0
    save_failures: ClassVar[int] = 0
    lost_answers: ClassVar[int] = 0
    takes_s: ClassVar[float] = 0.0
    conflicts: ClassVar[int] = 0

    @classmethod
    def wipe(cls) -> None:
        cls.kept = MemoryStore()
        cls.saves = []
        cls.load_failures = cls.save_failures = cls.lost_answers = cls.conflicts = 0
        cls.takes_s = 0.0

    async def load(self, kind: str, key: str) -> LoadedState:
        await asyncio.sleep(Disk.takes_s)
        if Disk.load_failures:
            Disk.load_failures -= 1
            raise OSError("cannot read")
        return await Disk.kept.load(kind, key)

    async def save(self, kind: str, key: str, state: EncodedState | None, version: int) -> int:
        Disk.saves.append(asyncio.get_running_loop().time())
        await asyncio.sleep(Disk.takes_s)
        if Disk.save_failures:
            Disk.save_failures -= 1
            raise OSError("cannot write")
        try:
            saved = await Disk.kept.save(kind, key, state, version)
        except (StateConflict, WriterFenced):
            Disk.conflicts += 1
            raise
        if Disk.lost_answers:
            Disk.lost_answers -= 1
            raise OSError("written, but the answer is lost")
        return saved

    @classmethod
    async def overwrite(cls, kind: str, key: str, by: str) -> None:
        """Replace the state of a key by that of another, as a program without a token would."""
        kept = await cls.kept.load(kind, key)
        other = await cls.kept.load(kind, by)
        cls.kept._kept[kind, key] = LoadedState(state=other.state, version=kept.version + 1)


class Count(Contract, name="keyed.count"):
    number: int
    host: str = ""


class Add(Request[Count], name="keyed.add"):
    user: str
    number: int = 1


class AddSoon(Contract, name="keyed.add_soon"):
    user: str
    number: int = 1


class Wait(Request[Count], name="keyed.wait"):
    user: str
    for_s: float


class Crash(Request[Count], name="keyed.crash"):
    user: str


class Counter(KeyedActor):
    key: ClassVar[str] = "user"

    def __init__(self) -> None:
        self.number = 0

    def snapshot(self) -> Count:
        return Count(number=self.number)

    async def restore(self, state: Count | None) -> None:
        self.number = 0 if state is None else state.number

    @handler
    async def add(self, request: Add, ctx: Context) -> Count:
        self.number += request.number
        return Count(number=self.number, host=ctx.host_name)

    @handler
    async def add_soon(self, message: AddSoon) -> None:
        self.number += message.number

    @handler
    async def wait(self, request: Wait) -> Count:
        await asyncio.sleep(request.for_s)
        return Count(number=self.number)

    @handler
    async def crash(self, request: Crash) -> Count:
        raise ValueError("asked to fail")


class Broad(Counter):
    concurrency: ClassVar[int] = 4


class Small(Counter):
    mailbox_messages: ClassVar[int] = 2


class Strict(Small):
    overflow: ClassVar[Overflow] = Overflow.REJECT


class Parting(Counter):
    async def stopping(self, ctx: Context, reason: object) -> None:
        self.number += 1_000
