"""The load of `large`: values of several sizes, and small messages during them, for any side.

First the throughput: asks with a value each, some in flight at once. Then small asks one at a
time: alone, and while values of one size leave for the same process at a steady rate.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final

from bench.outcome import Outcome, Params, check_of_each
from bench.timing import timed

__all__ = [
    "SIZES",
    "expected_large",
    "expected_values",
    "large_reply",
    "measure_large",
    "measure_values",
    "send_values",
]

SIZES: Final = {
    "60kb": 60_000,
    "64kb": 65_536,
    "100kb": 100_000,
    "1mb": 1 << 20,
    "16mb": 16 << 20,
    "60mb": 60_000_000,
}
DURING: Final = ("64kb", "100kb", "1mb", "16mb")
"""The sizes of the values that leave during small asks."""
MB: Final = 1_000_000
IN_FLIGHT_BYTES: Final = 128 * MB
IN_FLIGHT_MAX: Final = 64
STEADY_BYTES_PER_S: Final = 100 * MB

Ask = Callable[[int, bytes], Awaitable[dict[str, Any]]]
"""Ask with a number and a value; the reply is `large_reply`."""


def large_reply(number: int, value: bytes) -> dict[str, Any]:
    """The reply to a value: its number, its size, and its last byte."""
    return {"number": number, "size_bytes": len(value), "last": value[-1] if value else 0}


def _count(params: Params, size: str) -> int:
    return max(2, int(params["megabytes"]) * MB // SIZES[size])


def _sizes(params: Params) -> Iterator[str]:
    return (size for size in SIZES if SIZES[size] <= params["largest_bytes"])


def _value(size: str) -> bytes:
    return bytes(SIZES[size] - 1) + b"\x07"


def expected_large(params: Params) -> str:
    """The check over the replies of all sizes, in order."""
    return expected_values(params, _sizes(params))


def expected_values(params: Params, sizes: Iterable[str]) -> str:
    """The check over the replies to the values of these sizes, in order."""
    return check_of_each(
        {"number": number, "size_bytes": SIZES[size], "last": 7}
        for size in sizes
        for number in range(_count(params, size))
    )


async def send_values(ask: Ask, size: str, count: int) -> list[dict[str, Any]]:
    """The replies to so many values of one size, some in flight at once."""
    value = _value(size)
    askers = max(2, min(IN_FLIGHT_MAX, IN_FLIGHT_BYTES // SIZES[size], count))
    replies: list[Any] = [None] * count
    numbers = iter(range(count))

    async def asker() -> None:
        for number in numbers:
            replies[number] = await ask(number, value)

    await asyncio.gather(*(asker() for _ in range(askers)))
    return replies


async def _small_p50_ms(ask: Ask, seconds: float) -> float:
    round_trips_ns = []
    ends_s = time.perf_counter() + seconds
    while time.perf_counter() < ends_s:
        start_ns = time.perf_counter_ns()
        await ask(1, b"x" * 1_000)
        round_trips_ns.append(time.perf_counter_ns() - start_ns)
    return statistics.median(round_trips_ns) / 1e6


async def _during(ask: Ask, size: str, seconds: float) -> tuple[float, float]:
    """The median of small asks in ms, and the megabytes a second that left during them."""
    value, under_way, sent = _value(size), set[Any](), 0
    began_s = time.perf_counter()
    small = asyncio.ensure_future(_small_p50_ms(ask, seconds))
    while not small.done():
        due = int((time.perf_counter() - began_s) * STEADY_BYTES_PER_S / len(value))
        while sent < due and len(under_way) < IN_FLIGHT_MAX:
            task = asyncio.ensure_future(ask(sent, value))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            sent += 1
        await asyncio.sleep(0.001)
    took_s = time.perf_counter() - began_s
    done = sent - len(under_way)
    await asyncio.gather(*under_way)
    return await small, done * len(value) / took_s / MB


async def measure_values(ask: Ask, params: Params, sizes: Iterable[str]) -> Outcome:
    """The throughput of each of these sizes."""
    results: dict[str, float] = {}
    replies: list[dict[str, Any]] = []
    for size in sizes:
        count = _count(params, size)
        with timed() as stopwatch:
            replies += await send_values(ask, size, count)
        results[f"values_{size}_mb_per_s"] = stopwatch.per_s(count) * SIZES[size] / MB
    return Outcome(results, check_of_each(replies))


async def measure_large(ask: Ask, params: Params) -> Outcome:
    """The throughput of each size, and the median of small asks during values of some sizes."""
    await send_values(ask, "60kb", params["warm_up"])
    values = await measure_values(ask, params, _sizes(params))
    results = dict(values.results)
    seconds = params["milliseconds"] / 1_000
    results["small_alone_p50_ms"] = await _small_p50_ms(ask, seconds)
    for size in DURING:
        if SIZES[size] <= params["largest_bytes"]:
            p50_ms, mb_per_s = await _during(ask, size, seconds)
            results[f"small_during_{size}_p50_ms"] = p50_ms
            results[f"during_{size}_mb_per_s"] = mb_per_s
    return Outcome(results, values.check)
