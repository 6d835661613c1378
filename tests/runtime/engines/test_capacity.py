"""The error names the resources that a cluster lacks, before a process waits for them."""

from typing import Any

import pytest

from callboard.messages.control.placement import Resources
from callboard.runtime.engines.ray.capacity import (
    demand_of,
    matches,
    what_is_missing,
    what_is_taken,
)

GIB = 1024**3


def node(labels: dict[str, str] | None = None, *, alive: bool = True, **has: float) -> Any:
    return {"Alive": alive, "Resources": {"CPU": 4.0, **has}, "Labels": labels or {}}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Resources(gpus=8), r"no node has 8 GPU \(the most a node has is 2 GPU\)"),
        (Resources(cpus=16), r"16 CPU \(the most a node has is 4 CPU\)"),
        (Resources(memory_bytes=64 * GIB), r"64 GiB memory \(the most a node has is 8 GiB"),
        (Resources(custom={"tpu": 1}), r"1 tpu \(the most a node has is 0 tpu\)"),
        (Resources(node_labels={"zone": "c"}), "none of 2 living nodes has the labels zone=c"),
        (Resources(gpus=2, custom={"disk": 1}), "no single node has all of 1 CPU, 2 GPU, 1 disk"),
        (Resources(gpus=1, node_labels={"zone": "b"}), "a node with these labels has is 0 GPU"),
    ],
)
def test_what_no_node_has_is_named(wanted: Resources, said: str) -> None:
    nodes = [
        node({"zone": "a"}, GPU=2.0, memory=8.0 * GIB),
        node({"zone": "b"}, disk=1.0),
        node({"zone": "c"}, alive=False, GPU=8.0, CPU=64.0, tpu=4.0, memory=100.0 * GIB),
    ]
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(what_is_missing(wanted, nodes))


def test_what_one_node_has_is_not_missing() -> None:
    nodes = [node(), node({"zone": "a"}, GPU=1.0)]
    assert what_is_missing(Resources(gpus=0.5, node_labels={"zone": "in(a, b)"}), nodes) == ""
    assert what_is_missing(Resources(cpus=0), nodes) == ""


@pytest.mark.parametrize(
    ("selector", "value", "is_match"),
    [
        ("a", "a", True),
        ("a", None, False),
        ("!a", "a", False),
        ("!a", None, True),
        ("in(a,b)", "b", True),
        ("in(a,b)", "c", False),
        ("!in(a, b)", "b", False),
        ("!in(a,b)", "c", True),
    ],
)
def test_selectors_are_rays(selector: str, value: str | None, is_match: bool) -> None:
    labels = {} if value is None else {"zone": value}
    assert matches(labels, {"zone": selector}) is is_match


def test_busy_cluster_says_what_is_short() -> None:
    text = what_is_taken(Resources(cpus=1, gpus=2), {"CPU": 3.0, "GPU": 1.0})
    assert text == "the cluster is busy; waiting for 2 GPU (1 GPU free)"
    assert "1 CPU" in what_is_taken(Resources(), {"CPU": 1.0}), "free, but on no single node"


def test_what_is_not_asked_for_is_no_demand() -> None:
    assert demand_of(Resources(cpus=0, custom={"disk": 2})) == {"disk": 2}
