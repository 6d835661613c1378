"""What the lines of a rehearsal say: when a fault was noticed, when all went on, what was wrong."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

__all__ = [
    "acting",
    "lines_of",
    "noticed_at_s",
    "problems_of_execution",
    "problems_of_fences",
    "problems_of_keys",
    "two_at_once_s",
    "went_on_at_s",
]

Line = Mapping[str, Any]
UNSAVED_MAX: Final = 1
"""A reply does not wait for its save, and the driver asks one at a time for each key."""


def lines_of(text: str) -> list[Line]:
    """The lines of a file that may still be written: its last line may be half a line."""
    whole, _, _ = text.rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def noticed_at_s(lines: Iterable[Line], node: str, after_s: float) -> float | None:
    """When the driver first saw something of a fault of `node`; None when it never did.

    That is the root's word (a host of the node is not up, or has been replaced, or the root itself
    does not answer), or an ask that failed.
    """
    nodes: dict[str, str] = {}
    for line in lines:
        match line:
            case {"what": "host", "host": host, "node": now, "state": state, "at_s": at_s}:
                was, nodes[host] = nodes.get(host), now
                if at_s >= after_s and was == node and (state != "up" or now != node):
                    return float(at_s)
            case {"what": "failed" | "no_view", "at_s": at_s} if at_s >= after_s:
                return float(at_s)
            case _:
                pass
    return None


def went_on_at_s(lines: Iterable[Line], keys: Iterable[str], after_s: float) -> float | None:
    """When the last of the keys had answered an ask that began after the fault; None: never."""
    first: dict[str, float] = {}
    for line in lines:
        if line["what"] == "answered" and line["began_s"] >= after_s:
            first.setdefault(line["key"], line["at_s"])
    wanted = set(keys)
    return max(first[key] for key in wanted) if wanted <= first.keys() else None


def acting(effects: Iterable[Line], since_s: float) -> int:
    """How many activations have acted since then, of all keys."""
    return len({(line["key"], line["by"]) for line in effects if line["at_s"] >= since_s})


def two_at_once_s(effects: Iterable[Line]) -> float:
    """For how long an older activation of a key acted on, once a newer one had acted."""
    spans: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    for line in effects:
        acts, at_s = spans[line["key"]], line["at_s"]
        first, last = acts.get(line["by"], (at_s, at_s))
        acts[line["by"]] = (min(first, at_s), max(last, at_s))
    worst = 0.0
    for acts in spans.values():
        in_order = sorted(acts.values())
        latest = in_order[0][1]
        for first, last in in_order[1:]:
            worst = max(worst, min(latest, last) - first)
            latest = max(latest, last)
    return worst


def problems_of_keys(lines: Iterable[Line]) -> list[str]:
    """Replies that lack an amount that another reply has had: more than one unsaved is too many."""
    amounts: dict[str, list[int]] = defaultdict(list)
    asked: dict[str, int] = defaultdict(int)
    problems = []
    for line in lines:
        if line["what"] in {"answered", "failed"}:
            asked[line["key"]] += 1
        if line["what"] == "answered":
            amounts[line["key"]].append(line["amount"])
            if line["amount"] > asked[line["key"]]:
                problems.append(f"{line['key']} has {line['amount']} of {asked[line['key']]}")
    for key, seen in amounts.items():
        for before, after in pairwise(seen):
            if after < before + 1 - UNSAVED_MAX:
                problems.append(f"{key} had {before}, then {after}")
    return problems


def problems_of_execution(lines: Sequence[Line], count: int) -> list[str]:
    """What is wrong with the result of the execution of so many sub-tasks."""
    wanted = sum(number**2 for number in range(count))
    for line in lines:
        match line:
            case {"what": "executed", "amounts": amounts}:
                return [] if amounts == wanted else [f"the execution gave {amounts}, not {wanted}"]
            case {"what": "not_executed", "error": error}:
                return [f"the execution failed: {error}"]
            case _:
                pass
    return ["the execution has not ended"]


def problems_of_fences(effects: Iterable[Line]) -> list[str]:
    """Activations whose fence is not above that of the one before; none where there are none."""
    fences: dict[str, dict[str, tuple[float, int]]] = defaultdict(dict)
    for line in effects:
        if line.get("fence") is not None:
            fences[line["key"]].setdefault(line["by"], (line["at_s"], line["fence"]))
    return [
        f"{key} has fence {after}, and had {before}"
        for key, acts in fences.items()
        for (_, before), (_, after) in pairwise(sorted(acts.values()))
        if after <= before
    ]
