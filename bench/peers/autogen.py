"""AutoGen Core's single-threaded runtime: `tell_local`, `spawn` and `fanout`.

All run within this process. There is no tell to one agent: each message is a `send_message`,
awaited in batches.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from autogen_core import (
    AgentId,
    MessageContext,
    RoutedAgent,
    SingleThreadedAgentRuntime,
    message_handler,
)

from bench.entry import serve
from bench.loop import run_on_fastest_loop
from bench.memory import own_bytes
from bench.outcome import Outcome, Params, check_of, check_of_each
from bench.timing import timed
from bench.workload import ask_request, merge_sub_tasks, sub_task_result

__all__: list[str] = []

AGENT = "worker"
IN_FLIGHT_MAX = 1_000
FANOUT_AGENTS = 2


@dataclass
class Tell:
    """A message that is counted."""

    number: int
    text: str


@dataclass
class ReadTally:
    """Asks for the tally, and starts a new one."""


@dataclass
class ReadNumber:
    """Asks an agent for its number."""


@dataclass
class SubTask:
    """One sub-task of a fan-out."""

    number: int


@dataclass
class Reply:
    """Any answer. The library needs a type for it."""

    value: Any


class Worker(RoutedAgent):
    """Counts tells, computes sub-tasks. Its key is its number."""

    def __init__(self) -> None:
        super().__init__("worker")
        self._tally = {"count": 0, "total": 0}

    @message_handler
    async def tell(self, message: Tell, ctx: MessageContext) -> None:
        """Count the message."""
        self._tally["count"] += 1
        self._tally["total"] += message.number

    @message_handler
    async def tally(self, message: ReadTally, ctx: MessageContext) -> Reply:
        """Give the tally, and start a new one."""
        tally, self._tally = self._tally, {"count": 0, "total": 0}
        return Reply(tally)

    @message_handler
    async def number(self, message: ReadNumber, ctx: MessageContext) -> Reply:
        """Give the number of this agent."""
        return Reply(int(self.id.key))

    @message_handler
    async def sub_task(self, message: SubTask, ctx: MessageContext) -> Reply:
        """Compute the sub-task."""
        return Reply(sub_task_result(message.number))


@asynccontextmanager
async def _runtime() -> AsyncIterator[SingleThreadedAgentRuntime]:
    runtime = SingleThreadedAgentRuntime()
    await Worker.register(runtime, AGENT, Worker)
    runtime.start()
    try:
        yield runtime
    finally:
        await runtime.stop()


async def _send_all(
    runtime: SingleThreadedAgentRuntime, messages: list[tuple[Any, AgentId]]
) -> list[Any]:
    replies: list[Any] = []
    for start in range(0, len(messages), IN_FLIGHT_MAX):
        batch = messages[start : start + IN_FLIGHT_MAX]
        replies += await asyncio.gather(
            *(runtime.send_message(message, recipient) for message, recipient in batch)
        )
    return replies


async def _tell_local(params: Params) -> Outcome:
    agent = AgentId(AGENT, "0")
    tells = [(Tell(**ask_request(n)), agent) for n in range(params["messages"])]
    async with _runtime() as runtime:
        await _send_all(runtime, tells[: params["warm_up"]])
        await runtime.send_message(ReadTally(), agent)
        with timed() as stopwatch:
            await _send_all(runtime, tells)
            reply = await runtime.send_message(ReadTally(), agent)
    return Outcome({"messages_per_s": stopwatch.per_s(len(tells))}, check_of(reply.value))


async def _spawn(params: Params) -> Outcome:
    agents = [AgentId(AGENT, str(number)) for number in range(params["actors"])]
    asks = [(ReadNumber(), agent) for agent in agents]
    async with _runtime() as runtime:
        await runtime.send_message(ReadNumber(), AgentId(AGENT, "-1"))
        before_bytes = own_bytes()
        with timed() as stopwatch:
            replies = await _send_all(runtime, asks)
        size_bytes = own_bytes() - before_bytes
    return Outcome(
        {
            "actors_per_s": stopwatch.per_s(len(agents)),
            "bytes_per_actor": size_bytes / len(agents),
        },
        check_of_each(reply.value for reply in replies),
        ("the first message to an agent creates it, and is part of the time",),
    )


async def _fanout(params: Params) -> Outcome:
    agents = [AgentId(AGENT, str(number)) for number in range(FANOUT_AGENTS)]
    async with _runtime() as runtime:
        await _send_all(runtime, [(SubTask(n), agents[0]) for n in range(params["warm_up"])])
        with timed() as stopwatch:
            replies = await _send_all(
                runtime,
                [(SubTask(n), agents[n % FANOUT_AGENTS]) for n in range(params["sub_tasks"])],
            )
            merged = merge_sub_tasks(reply.value for reply in replies)
    return Outcome({"sub_tasks_per_s": stopwatch.per_s(params["sub_tasks"])}, check_of(merged))


def tell_local(params: Params) -> Outcome:
    """Messages to one agent, in batches in flight at once."""
    return run_on_fastest_loop(_tell_local(params))


def spawn(params: Params) -> Outcome:
    """Agents made by their first message."""
    return run_on_fastest_loop(_spawn(params))


def fanout(params: Params) -> Outcome:
    """Sub-tasks sent to two agents, their replies merged."""
    return run_on_fastest_loop(_fanout(params))


if __name__ == "__main__":
    serve({"tell_local": tell_local, "spawn": spawn, "fanout": fanout})
