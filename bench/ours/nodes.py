"""`nodes`: asks and values within a node of Ray and between two, sub-tasks over both, and losses.

The asker is an actor of a host of the near node. It asks an actor of another host there, and one of
a host of the far node. The driver, on the near node too, asks both as well.
"""

from typing import Any

from bench.large import large_reply, measure_values, send_values
from bench.loop import run_on_fastest_loop
from bench.nodes import PATHS, VALUES, VALUES_WARM_UP, Places, Tally, places
from bench.ours.ask import Answer, Answerer, Question, measure_asks
from bench.ours.fanout import AGENTS, measure_fanout
from bench.ours.large import Received, Value
from bench.ours.node_loss import measure_losses, measure_root_losses
from bench.outcome import Outcome, Params
from callboard import Agent, Contract, Ref, Request, handler, start
from callboard.placement import HostSpec, Resources

__all__ = ["run"]

TIMEOUT_S = 600.0
VALUE_TIMEOUT_S = 120.0
NODE_ID = "ray.io/node-id"
"""Ray's label with the id of a node."""


class Measured(Contract):
    """The figures of one path, and the checks of its asks and its values."""

    asks: dict[str, float]
    asks_check: str
    values: dict[str, float]
    values_check: str


class Partner(Answerer):
    """Answers questions and values."""

    @handler
    async def answer(self, question: Question) -> Answer:
        """Give the answer that the workload defines."""
        return await Answerer.answer(self, question)

    @handler
    async def receive(self, request: Value) -> Received:
        """Give the answer that the workload defines."""
        return Received(**large_reply(request.number, request.value))


class MeasurePath(Request[Measured]):
    """Ask this partner."""

    partner: Ref[Partner]
    params: dict[str, int]


class Asker(Agent):
    """Asks from a host of the near node."""

    @handler
    async def measure(self, request: MeasurePath) -> Measured:
        """Measure asks, then values."""
        return await _measure(request.partner, request.params)


async def _measure(partner: Ref[Partner], params: Params) -> Measured:
    async def ask(number: int, value: bytes) -> dict[str, Any]:
        request = Value(number=number, value=value)
        return (await partner.ask(request, timeout_s=VALUE_TIMEOUT_S)).model_dump()

    asks = await measure_asks(partner, params)
    await send_values(ask, VALUES[0], VALUES_WARM_UP)
    values = await measure_values(ask, params, VALUES)
    return Measured(
        asks=dict(asks.results),
        asks_check=asks.check,
        values=dict(values.results),
        values_check=values.check,
    )


def _host(name: str, node: str) -> HostSpec:
    return HostSpec(name, resources=Resources(cpus=0, node_labels={NODE_ID: node}))


async def _measure_paths(where: Places, params: Params, tally: Tally) -> None:
    hosts = (_host("asker", where.near), _host("within", where.near), _host("between", where.far))
    numbers = {name: params[name] for name in ("messages", "round_trips", "warm_up", "megabytes")}
    async with start(address=where.address, hosts=hosts, standbys=0, journal="off") as system:
        asker = await system.spawn(Asker, host="asker")
        for path in PATHS:
            partner = await system.spawn(Partner, host=path)
            request = MeasurePath(partner=partner, params=numbers)
            found = await asker.ask(request, timeout_s=TIMEOUT_S)
            tally.add(path, "asks", Outcome(found.asks, found.asks_check))
            tally.add(path, "values", Outcome(found.values, found.values_check))
            of_driver = await measure_asks(partner, params)
            tally.add_figures(f"driver_{path}", of_driver.results)


async def _measure_fanout(where: Places, params: Params, tally: Tally) -> None:
    hosts = (_host("near", where.near), _host("far", where.far))
    async with start(address=where.address, hosts=hosts, standbys=0, journal="off") as system:
        tally.add_fanout(await measure_fanout(system, params, agents=AGENTS))


async def _run(where: Places, params: Params, tally: Tally) -> None:
    await _measure_paths(where, params, tally)
    await _measure_fanout(where, params, tally)
    if where.cluster is None:
        return
    if params["losses"]:
        await measure_losses(where.cluster, params, tally)
    if params["root_losses"]:
        await measure_root_losses(where.cluster, params, tally)


def run(params: Params) -> Outcome:
    """All figures."""
    tally = Tally()
    with places(params) as where:
        run_on_fastest_loop(_run(where, params, tally))
        where.note(tally)
    return tally.outcome()
