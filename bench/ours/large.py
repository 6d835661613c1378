"""`large`: the driver's process asks one actor in a host's process, with values of many sizes."""

from typing import Any

import callboard
from bench.large import large_reply, measure_large
from bench.outcome import Outcome, Params
from callboard import Agent, Contract, Request, System, handler

__all__ = ["Received", "Value", "run"]

TIMEOUT_S = 120.0


class Received(Contract):
    """What came: the number, the size, and the last byte."""

    number: int
    size_bytes: int
    last: int


class Value(Request[Received]):
    """A number and a value."""

    number: int
    value: bytes


class Receiver(Agent):
    """Says what it received."""

    @handler
    async def receive(self, request: Value) -> Received:
        """Give the answer that the workload defines."""
        return Received(**large_reply(request.number, request.value))


def run(params: Params) -> Outcome:
    """Asks from the driver to one actor on one host."""

    async def main(system: System) -> Outcome:
        receiver = await system.spawn(Receiver)

        async def ask(number: int, value: bytes) -> dict[str, Any]:
            request = Value(number=number, value=value)
            return (await receiver.ask(request, timeout_s=TIMEOUT_S)).model_dump()

        return await measure_large(ask, params)

    return callboard.run(main, hosts=1, standbys=0)
