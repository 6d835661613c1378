"""prometheus-client: `observe`, with its default buckets and one label."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bench.entry import serve
from bench.outcome import Outcome, Params
from bench.recording import ns_per_call, observed_check

__all__: list[str] = []


def observe(params: Params) -> Outcome:
    """Each way to record that both have; unbound: the child is looked up by its label."""
    registry, calls = CollectorRegistry(), params["calls"]
    seconds: Any = Histogram("took_seconds", "Time.", ["step"], registry=registry)
    total: Any = Counter("calls", "Calls.", ["step"], registry=registry)
    depth: Any = Gauge("depth", "Depth.", ["step"], registry=registry)
    bound, counter, gauge = seconds.labels("bench"), total.labels("bench"), depth.labels("bench")
    figures = {"observe_ns": ns_per_call(bound.observe, calls, lambda: None)}
    count = registry.get_sample_value("took_seconds_count", {"step": "bench"})
    added = registry.get_sample_value("took_seconds_sum", {"step": "bench"})
    figures["unbound_observe_ns"] = ns_per_call(
        lambda value: seconds.labels("bench").observe(value), calls, lambda: None
    )
    figures["count_ns"] = ns_per_call(counter.inc, calls, lambda: None)
    figures["unbound_count_ns"] = ns_per_call(
        lambda value: total.labels("bench").inc(value), calls, lambda: None
    )
    figures["gauge_ns"] = ns_per_call(gauge.set, calls, lambda: None)
    return Outcome(figures, observed_check(count or 0.0, added or 0.0))


if __name__ == "__main__":
    serve({"observe": observe})
