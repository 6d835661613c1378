"""More fixture actors: lifecycle and children, pools, and large values."""

import asyncio
from typing import Any, ClassVar

import numpy as np

from callboard.actors.kernel.actor import Actor, Agent, handler
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.props import props
from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import Intensity, Restart, StopTimeout, SupervisorSpec
from callboard.messages.core.codec import Array
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.ref import Ref

from .fixture_actors import (
    FOREVER_S,
    AskReceived,
    Event,
    Expect,
    Hang,
    Note,
    Number,
    Ping,
    Received,
    Text,
    misbehave,
)

# --- lifecycle ------------------------------------------------------------------------


class FailingConstructor(Actor):
    def __init__(self, how: str = "plain") -> None:
        misbehave(how)


class FailingStart(Actor):
    """Its hook fails a given number of times, which the recorder counts."""

    def __init__(self, how: str = "plain") -> None:
        self._how = how

    async def started(self, ctx: Context) -> None:
        misbehave(self._how)

    @handler
    async def ping(self, request: Ping) -> Number:
        return Number(n=request.n)


class Crash(Contract, name="actors.crash"):
    """Raise."""


class Leave(Contract, name="actors.leave"):
    """Stop yourself."""


class Spawn(Request[Text], name="actors.spawn"):
    label: str
    kind: str = "child"


class Children(Contract, name="actors.children"):
    refs: tuple[Ref[Any], ...]


class AskChildren(Request[Children], name="actors.ask_children"):
    """The living children."""


class StopChild(Request[Number], name="actors.stop_child"):
    child: Ref[Any]


class Person(Actor):
    """Reports its start and stop to the recorder, and spawns children of its class."""

    def __init__(self, recorder: Ref[Any], label: str, children: int = 0) -> None:
        self._recorder = recorder
        self._label = label
        self._children = children
        self._notes = 0

    async def started(self, ctx: Context) -> None:
        for number in range(self._children):
            await ctx.spawn(
                props(Person, self._recorder, f"{self._label}.{number}"), name=f"c{number}"
            )
        ctx.tell(Event(text=f"{self._label} started"), self._recorder)

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        ctx.tell(Event(text=f"{self._label} stopping {reason.kind}"), self._recorder)

    @handler
    async def crash(self, message: Crash) -> None:
        raise ValueError("crash")

    @handler
    async def leave(self, message: Leave, ctx: Context) -> None:
        ctx.stop()

    @handler
    async def note(self, note: Note) -> None:
        self._notes += 1

    @handler
    async def received(self, request: AskReceived) -> Received:
        return Received(count=self._notes, in_order=True, newest=0)

    @handler
    async def spawn(self, request: Spawn, ctx: Context) -> Text:
        label = f"{self._label}.{request.label}"
        child = await ctx.spawn(props(Person, self._recorder, label), name=request.label)
        return Text(text=str(child.address))

    @handler
    async def children(self, request: AskChildren, ctx: Context) -> Children:
        return Children(refs=tuple(ctx.children()))

    @handler
    async def stop_child(self, request: StopChild, ctx: Context) -> Number:
        await ctx.stop_child(request.child)
        return Number(n=1)

    @handler
    async def hang(self, request: Hang, ctx: Context) -> Number:
        ctx.tell(Event(text=f"{request.label} started"), request.recorder)
        try:
            await asyncio.sleep(FOREVER_S)
        except asyncio.CancelledError:
            ctx.tell(Event(text=f"{request.label} cancelled"), request.recorder)
            raise
        return Number(n=0)

    @handler
    async def ping(self, request: Ping) -> Number:
        return Number(n=request.n)


class FussyChild(Actor):
    """Cannot start again after its first incarnation."""

    starts: ClassVar[list[int]] = []

    def __init__(self, recorder: Ref[Any], label: str) -> None:
        self._recorder = recorder
        self._label = label

    async def started(self, ctx: Context) -> None:
        ctx.tell(Event(text=f"{self._label} starting"), self._recorder)
        heard = await ctx.ask(Expect(prefix=f"{self._label} starting"), self._recorder)
        if len(heard.events) > 1:
            raise ValueError("only one life")

    @handler
    async def crash(self, message: Crash) -> None:
        raise ValueError("crash")


class FussyParent(Actor):
    """Its child does not come back, so its supervisor gives up and it fails itself."""

    supervision: ClassVar[SupervisorSpec] = SupervisorSpec(intensity=Intensity(restarts=2))

    def __init__(self, recorder: Ref[Any], label: str) -> None:
        self._recorder = recorder
        self._label = label

    async def started(self, ctx: Context) -> None:
        ctx.tell(Event(text=f"{self._label} parent started"), self._recorder)

    @handler
    async def spawn(self, request: Spawn, ctx: Context) -> Text:
        child = await ctx.spawn(
            props(FussyChild, self._recorder, f"{self._label} {request.label}"),
            restart=Restart.PERMANENT,
        )
        ctx.tell(Crash(), child)
        return Text(text=str(child.address))


class Stubborn(Actor):
    """Has a child whose handler does not end when asked to."""

    def __init__(self, recorder: Ref[Any], label: str) -> None:
        self._recorder = recorder
        self._label = label

    async def started(self, ctx: Context) -> None:
        await ctx.spawn(
            props(Person, self._recorder, f"{self._label}.c"),
            name="c",
            stop_timeout=StopTimeout.INFINITY,
        )

    @handler
    async def children(self, request: AskChildren, ctx: Context) -> Children:
        return Children(refs=tuple(ctx.children()))


# --- pools ----------------------------------------------------------------------------


class Hold(Request[Text], name="actors.hold"):
    """Answered by the host's name once the recorder has the event `go`."""

    recorder: Ref[Any]
    label: str
    go: str


class Worker(Agent):
    """One of a pool."""

    @handler
    async def hold(self, request: Hold, ctx: Context) -> Text:
        ctx.tell(Event(text=f"{request.label} held"), request.recorder)
        await ctx.ask(Expect(prefix=request.go), request.recorder)
        return Text(text=ctx.host_name)

    @handler
    async def ping(self, request: Ping) -> Number:
        return Number(n=request.n)


class DoubleWorker(Worker):
    """Two requests at once."""

    concurrency: ClassVar[int] = 2


class Errand(Request[Text], name="actors.errand"):
    """Only pools of `Runner` offer it."""


class Runner(Agent):
    def __init__(self, how: str = "") -> None:
        misbehave(how)

    @handler
    async def errand(self, request: Errand, ctx: Context) -> Text:
        return Text(text=ctx.host_name)


class RunErrands(Request[Number], name="actors.run_errands"):
    """Answered by how many errands have been run, one after the other."""

    count: int


class ErrandAsker(Agent):
    @handler
    async def run(self, request: RunErrands, ctx: Context) -> Number:
        for _ in range(request.count):
            await ctx.ask(Errand())
        return Number(n=request.count)


class AskLabel(Request[Text], name="actors.ask_label"):
    pass


class Labelled(Agent):
    def __init__(self, label: str) -> None:
        self._label = label

    @handler
    async def label(self, request: AskLabel) -> Text:
        return Text(text=self._label)


# --- large values ---------------------------------------------------------------------


class Blob(Contract, name="actors.blob"):
    data: bytes


class EchoBlob(Request[Blob], name="actors.echo_blob"):
    data: bytes


class Matrix(Contract, name="actors.matrix"):
    values: Array
    total: float
    owns_data: bool
    writeable: bool


class EchoMatrix(Request[Matrix], name="actors.echo_matrix"):
    values: Array


class Echo(Agent):
    """Answers with the message."""

    @handler
    async def blob(self, request: EchoBlob) -> Blob:
        return Blob(data=request.data)

    @handler
    async def matrix(self, request: EchoMatrix) -> Matrix:
        flags = request.values.flags
        return Matrix(
            values=request.values,
            total=float(np.sum(request.values)),
            owns_data=bool(flags.owndata),
            writeable=bool(flags.writeable),
        )


class Find(Request[Text], name="actors.find"):
    """The address of a name, as this host knows it, after an errand of whoever offers one."""

    name: str


class Finder(Agent):
    @handler
    async def find(self, request: Find, ctx: Context) -> Text:
        await ctx.ask(Errand())
        return Text(text=str((await ctx.lookup(request.name)).address))
