"""Two real links that face each other, over a wire that the test holds, on a virtual clock.

A frame that leaves lies on the wire until the test carries it over, drops it or doubles it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeGuard

from callboard.actors.kernel.asks import Ask, Call
from callboard.actors.kernel.dead_letters import DeadLetters
from callboard.actors.kernel.deadlines import Deadlines
from callboard.actors.kernel.flow_key import WHOLE_CELL, FlowKey
from callboard.actors.kernel.link.link import Link
from callboard.actors.kernel.link.queue import OutgoingMessage
from callboard.messages.control.dead_letters import DeadLetter
from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import Contract, ContractRegistry, Request
from callboard.messages.core.errors import ActorStopped, AskError, CallboardError, MailboxFull
from callboard.messages.core.frame import Frame, decode_frame
from callboard.messages.core.limits import Limits
from callboard.messages.ports import LargeValueStore
from callboard.runtime.engines.inline import InlineLargeValues
from callboard.runtime.testing.world import World

LIMITS: Final = Limits(
    link_credit=8,
    link_control_credit=3,
    link_backlog_max=4,
    link_frames_in_flight=2,
    frame_messages_soft=3,
    inline_bytes_max=500,
    partial_bytes_max=500,
    frame_bytes_soft=1_000,
)


class Note(Contract, name="pair.note"):
    number: int
    text: str = ""


class Reply(Contract, name="pair.reply"):
    number: int
    text: str = ""


class Question(Request[Reply], name="pair.question"):
    number: int
    text: str = ""


class Keyed(Contract, name="pair.keyed"):
    user: str


class Asked:
    """The asker's side of an ask, with its outcome."""

    local: Ask | None = None
    window = 0

    def __init__(self, pending: dict[int, Call], slot: int, correlation: int) -> None:
        self.slot, self.correlation = slot, correlation
        self.sent = False
        self.step = ""
        self.trace = b""
        self.partials: list[Contract] = []
        self.result: Contract | None = None
        self.error: CallboardError | None = None
        self._pending = pending
        pending[correlation] = self

    def done(self) -> bool:
        return self.correlation not in self._pending

    def partial(self, _correlation: int, message: Contract) -> None:
        self.partials.append(message)

    def reply(self, _correlation: int, message: Contract | None) -> None:
        del self._pending[self.correlation]
        self.result = message

    def fail(self, _correlation: int, error: CallboardError) -> None:
        del self._pending[self.correlation]
        self.error = error

    def cancel(self) -> None:
        """Wait no more."""
        del self._pending[self.correlation]


class Mailbox:
    """A recipient: it is over its limit after `room` messages, and refuses after `most`."""

    def __init__(self, number: int, room: int = 1_000, most: int = 1_000) -> None:
        self.id = number
        self.path = f"cell-{number}"
        self.room, self.most = room, most
        self.key_field = ""
        self.queued, self.is_blocked = True, False
        self.items: list[Any] = []
        self.waiting: list[Callable[[], None]] = []

    def arrive(self, item: Any) -> bool:
        if len(self.items) >= self.most:
            raise MailboxFull("full.", advice="")
        self.items.append(item)
        return len(self.items) > self.room

    def flow_key_of(self, message: Contract) -> FlowKey:
        return FlowKey.of(message, self.key_field) if self.key_field else WHOLE_CELL

    def when_room(self, _message: Contract, callback: Callable[[], None]) -> None:
        self.waiting.append(callback)

    def empty(self) -> None:
        """Handle everything: those who wait learn that there is room."""
        self.items.clear()
        waiting, self.waiting = self.waiting, []
        for callback in waiting:
            callback()

    @property
    def numbers(self) -> list[int]:
        messages: list[Any] = [m.message if type(m) is Ask else m for m in self.items]
        return [message.number for message in messages]


class Wire:
    """The carrier of one direction."""

    is_stream = False

    def __init__(self) -> None:
        self.frames: deque[tuple[bytes, Sequence[Any]]] = deque()
        self.writes = True
        """Whether a frame can be handed over without waiting."""
        self.answers: deque[tuple[bytes, asyncio.Future[tuple[bytes, Sequence[Any]]]]] = deque()
        """The deliveries that are under way."""
        self.is_closed = False

    def write(self, frame: bytes) -> bool:
        if self.writes:
            self.frames.append((frame, ()))
        return self.writes

    def close(self) -> None:
        self.is_closed = True

    async def deliver(self, frame: bytes, references: Sequence[Any]) -> tuple[bytes, Sequence[Any]]:
        self.frames.append((frame, references))
        answer: asyncio.Future[tuple[bytes, Sequence[Any]]]
        answer = asyncio.get_running_loop().create_future()
        self.answers.append((frame, answer))
        return await answer

    def answer(self, frame: bytes, outcome: bytes | Exception = b"") -> None:
        """End the delivery of a frame, if it was delivered and not written."""
        for place, (data, answer) in enumerate(self.answers):
            if data == frame:
                del self.answers[place]
                if isinstance(outcome, Exception):
                    answer.set_exception(outcome)
                else:
                    answer.set_result((outcome, ()))
                return


class End:
    """One host with one link."""

    def __init__(self, world: World, slot: int, peer: int, limits: Limits = LIMITS) -> None:
        self.world = world
        self.loop: asyncio.AbstractEventLoop = world.driver
        self.slot, self.epoch, self.name = slot, 1, f"host-{slot}"
        self.limits = limits
        self.contracts = ContractRegistry(limits)
        self.codec = Codec(self.contracts, limits)
        self.large_values: LargeValueStore = InlineLargeValues()
        self.dead_letters = DeadLetters(self.name)
        self.letters: list[DeadLetter] = []
        self.dead_letters.subscribe(self.letters.append)
        self.deadlines = Deadlines()
        self.armed = 0
        self.cells: dict[int, Mailbox] = {}
        self.pending: dict[int, Call] = {}
        self.events: list[tuple[Any, ...]] = []
        self.is_restarting = False
        self.received: list[bytes] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.link = Link(self, peer)
        self.wire = Wire()

    def now(self) -> float:
        return self.loop.time()

    def arm_deadlines(self) -> None:
        self.armed += 1

    def should_bounce(self, error: CallboardError) -> TypeGuard[AskError]:
        return self.is_restarting and isinstance(error, ActorStopped)

    def suspect(self, ask: Ask) -> None:
        self.events.append(("suspected", ask))

    def take_search(self, correlation: int, body: bytes) -> bool:
        self.events.append(("search", correlation, body))
        return True

    def run_task(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.tasks.append(self.loop.create_task(coroutine))

    def receive(self, data: bytes, references: Sequence[Any] = ()) -> object:
        self.received.append(data)
        self.link.receive(decode_frame(data, self.limits), references)
        return None

    def link_connected(self) -> None:
        self.events.append(("connected",))

    def link_opened(self, slot: int, epoch: int) -> None:
        self.events.append(("opened", slot, epoch))

    def link_lost(self, slot: int, epoch: int, error: CallboardError) -> None:
        self.events.append(("lost", slot, epoch, error.code))

    def link_closed(self, slot: int, error: CallboardError) -> None:
        self.events.append(("closed", slot, error.code))

    def tell(self, number: int, text: str = "", target: int = 7) -> None:
        """Send a note."""
        self.link.outbox.post(OutgoingMessage(target, Note(number=number, text=text)))

    def ask(self, number: int, text: str = "", target: int = 7, timeout_s: float = 9.0) -> Asked:
        """Ask a question."""
        asked = Asked(self.pending, self.link.slot, 100 + number)
        question = Question(number=number, text=text)
        self.link.outbox.post(OutgoingMessage(target, question, asked, self.now() + timeout_s))
        return asked

    # --- the wire -----------------------------------------------------------------------

    def frames(self) -> list[Frame]:
        """What lies on the wire, read."""
        return [decode_frame(data, self.limits) for data, _ in self.wire.frames]

    def kinds(self) -> list[list[int]]:
        """The kinds of the envelopes of each frame that lies on the wire."""
        return [[int(each.kind) for each in frame.envelopes] for frame in self.frames()]


class Pair:
    """Host 1 and host 2, connected, and what their wires hold."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.world = World(0)
        self.here, self.there = End(self.world, 1, 2, limits), End(self.world, 2, 1, limits)
        self.box = self.there.cells[7] = Mailbox(7)
        for end in self.ends:
            end.contracts.learn(Note)
            end.link.connect(1, end.wire)

    @property
    def ends(self) -> tuple[End, End]:
        return self.here, self.there

    def step(self, seconds: float = 0.0) -> None:
        """Let both loops do what is due within so many seconds."""
        self.world.advance(seconds)

    def carry(self, source: End) -> int:
        """Carry over all that lies on one end's wire; returns the number of frames."""
        target = self.there if source is self.here else self.here
        count = 0
        while source.wire.frames:
            data, references = source.wire.frames.popleft()
            target.receive(data, references)
            source.wire.answer(data)
            count += 1
        return count

    def settle(self) -> None:
        """Carry both ways until nothing leaves any more, without time passing."""
        self.step()
        while sum([self.carry(end) for end in self.ends]):
            self.step()

    def close(self) -> None:
        """End both loops."""
        self.world.close()
