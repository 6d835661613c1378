"""`scale`: what the control plane costs in a system of many hosts, by simulation.

For each number of hosts, and for each event, it counts the messages and bytes that root and hosts
send, the root's Ray calls, and the time of the root's process and of all hosts. The exponent of a
figure is its growth: 1 means that it grows as the number of hosts does, 2 as its square. It is the
slope between the two largest numbers of hosts, where the constant part matters least.
"""

import gc
import math
from collections.abc import Mapping
from dataclasses import asdict

from bench.memory import own_bytes
from bench.outcome import Outcome, Params, check_of
from bench.scale.events import EVENTS, ROUTINGS, Scale, measure, routes

__all__ = ["run"]

UNITS = {"root_us": "_us", "hosts_us": "_us", "took_s": "_s"}
"""The units of figures that are times; the others are counts."""


def run(params: Params) -> Outcome:
    """Measure each number of hosts, the smallest first."""
    sizes = sorted(count for name, count in params.items() if name.startswith("hosts_"))
    results: dict[str, float] = {}
    for hosts in sizes:
        gc.collect()
        before_bytes = own_bytes()
        results |= _figures(hosts, measure(hosts))
        results[f"count_simulator_bytes_{hosts}"] = max(0, own_bytes() - before_bytes)
        for routing, (first_ms, each_us) in routes(hosts).items():
            results[f"route_{routing}_first_{hosts}_ms"] = first_ms
            results[f"route_{routing}_each_{hosts}_us"] = each_us
    if len(sizes) > 1:
        results |= _exponents(results, sizes[-2], sizes[-1])
    return Outcome(results, check_of({"hosts": sizes, "events": EVENTS, "routings": ROUTINGS}))


def _figures(hosts: int, scale: Scale) -> dict[str, float]:
    found: dict[str, float] = {
        f"root_{hosts}_bytes": scale.root_bytes,
        f"host_{hosts}_bytes": scale.host_bytes,
        f"heartbeat_{hosts}_us": scale.heartbeat_us,
    }
    for event, counts in scale.counts.items():
        for figure, value in asdict(counts).items():
            if figure in UNITS:
                name = f"{event}_{figure.rpartition('_')[0]}_{hosts}{UNITS[figure]}"
            else:
                name = f"count_{event}_{figure}_{hosts}"
            found[name] = value
    return found


def _exponents(results: Mapping[str, float], less: int, more: int) -> dict[str, float]:
    """The growth of each figure between two numbers of hosts."""
    found = {}
    for name, value in results.items():
        before = results.get(name.replace(f"_{more}", f"_{less}")) if f"_{more}" in name else None
        if before and value > 0:
            key = name.replace(f"_{more}", "")
            found[f"exponent_{key}"] = math.log(value / before) / math.log(more / less)
    return found
