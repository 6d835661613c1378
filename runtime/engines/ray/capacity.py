"""The capacity of a cluster for one process: resources that are missing or in use. Pure.

Ray lets a process that fits on no node wait without end and without a message. These functions say
what is missing, before Ray is asked for the process and while it waits.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from callboard.messages.control.placement import Resources

__all__ = ["demand_of", "matches", "what_is_missing", "what_is_taken"]

GIB: Final = 1024**3


def demand_of(resources: Resources) -> dict[str, float]:
    """The requested amounts by Ray's names, without zeros."""
    amounts = {
        "CPU": resources.cpus,
        "GPU": resources.gpus,
        "memory": float(resources.memory_bytes),
        **resources.custom,
    }
    return {name: amount for name, amount in amounts.items() if amount > 0}


def matches(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether a node's labels match Ray's selectors `wanted`."""
    return all(_matches(labels.get(name), selector) for name, selector in wanted.items())


def _matches(value: str | None, selector: str) -> bool:
    is_negated = selector.startswith("!")
    text = selector.removeprefix("!")
    if text.startswith("in(") and text.endswith(")"):
        values = [each.strip() for each in text[3:-1].split(",")]
    else:
        values = [text]
    return (value in values) is not is_negated


def what_is_missing(resources: Resources, nodes: Sequence[Mapping[str, Any]]) -> str:
    """Why no living node could ever run it; empty when one could. `nodes` as Ray lists them."""
    living = [node for node in nodes if node["Alive"]]
    labelled = [node for node in living if matches(node.get("Labels", {}), resources.node_labels)]
    if not labelled:
        selectors = ", ".join(f"{name}={text}" for name, text in resources.node_labels.items())
        return f"none of {len(living)} living nodes has the labels {selectors}"
    demand = demand_of(resources)
    if any(_holds(node["Resources"], demand) for node in labelled):
        return ""
    where = "with these labels " if resources.node_labels else ""
    lacking = [
        f"{_amount(name, amount)} (the most a node {where}has is "
        f"{_amount(name, max(node['Resources'].get(name, 0.0) for node in labelled))})"
        for name, amount in demand.items()
        if all(node["Resources"].get(name, 0.0) < amount for node in labelled)
    ]
    if lacking:
        return f"no node has {', '.join(lacking)}"
    together = ", ".join(_amount(name, amount) for name, amount in demand.items())
    return f"no single node has all of {together}"


def what_is_taken(resources: Resources, free: Mapping[str, float]) -> str:
    """The resources for which a process waits although the cluster has them."""
    short = [
        f"{_amount(name, amount)} ({_amount(name, free.get(name, 0.0))} free)"
        for name, amount in demand_of(resources).items()
        if free.get(name, 0.0) < amount
    ]
    wanted = ", ".join(short) or ", ".join(
        _amount(name, amount) for name, amount in demand_of(resources).items()
    )
    return f"the cluster is busy; waiting for {wanted or 'a node'}"


def _holds(has: Mapping[str, float], demand: Mapping[str, float]) -> bool:
    return all(has.get(name, 0.0) >= amount for name, amount in demand.items())


def _amount(name: str, amount: float) -> str:
    return f"{amount / GIB:.3g} GiB memory" if name == "memory" else f"{amount:g} {name}"
