"""The measurement, the same for each side."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from bench.linux import descendants, open_descriptors
from bench.memory import own_bytes
from bench.outcome import Outcome, Params, check_of
from bench.timing import median_and_worst

from .killer import MS_PER_S, Killer
from .load import Asked, Load
from .recovery import recoveries_s, steady_rate

__all__ = ["measure_kills"]

WARM_UP_S = 1.0


async def measure_kills(
    asked: Sequence[Asked],
    lost: type[Exception],
    params: Params,
    stand: Callable[[], Awaitable[None]],
) -> Outcome:
    """Ask at the rate, kill, and wait for full recovery, when `stand` returns.

    `lost` is the error of an ask whose process dies.
    """
    await stand()
    lasts_s = WARM_UP_S + params["kills"] * params["interval_ms"] / MS_PER_S
    load = Load(asked, params["asks_per_s"], lost, round(lasts_s * params["asks_per_s"]))
    loading = asyncio.create_task(load.run())
    await asyncio.sleep(WARM_UP_S)
    begin = _footprint("begin")
    killer = Killer(load, params)
    await killer.kill(params["kills"] // 2)
    middle = _memory("middle")  # After the one-time allocations.
    await killer.kill(params["kills"])
    until_s = time.monotonic()
    await load.stop(loading)
    await stand()
    results = _results(load, killer.times_s, until_s) | begin | middle | _footprint("end")
    if begin and middle:
        results["driver_growth_bytes"] = results["driver_end_bytes"] - results["driver_begin_bytes"]
    return Outcome(results, check_of({"kills": len(killer.times_s), **load.faults()}))


def _memory(when: str) -> dict[str, float]:
    found = own_bytes()
    return {} if found is None else {f"driver_{when}_bytes": float(found)}


def _footprint(when: str) -> dict[str, float]:
    """Figures that must not grow."""
    found = {f"processes_{when}": descendants(), f"descriptors_{when}": open_descriptors()}
    counts = {name: float(value) for name, value in found.items() if value is not None}
    return _memory(when) | counts


def _results(load: Load, kills_s: list[float], until_s: float) -> dict[str, float]:
    # The last bucket is incomplete, and before the first kill the load warms up.
    rates = load.rates(from_s=kills_s[0], until_s=until_s)
    back_ms = [value * MS_PER_S for value in recoveries_s(rates, kills_s)]
    results = {
        # Each side has its own load, so its answers are reported and not compared.
        "answers_each_second": steady_rate(rates),
        "asks": float(load.asked),
        **median_and_worst("back_at_90_percent_ms", back_ms),
    }
    return results | {f"outcome_{kind}": float(count) for kind, count in load.kinds.items()}
