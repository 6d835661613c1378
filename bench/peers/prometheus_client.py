"""prometheus-client: `windows`, as observations of bound histograms; no windows, no quantiles."""

import numpy as np
from prometheus_client import CollectorRegistry, Histogram

from bench.entry import serve
from bench.outcome import Outcome, Params
from bench.timing import timed
from bench.windows import batches, totals_check

__all__: list[str] = []


def windows(params: Params) -> Outcome:
    """Each value into the histogram of its series."""
    registry = CollectorRegistry()
    histogram = Histogram("latency", "Latency", ["n"], registry=registry)
    bound = [histogram.labels(f"{number:06d}") for number in range(params["series"])]
    columns = list(batches(params["series"], params["points"], params["batch"]))
    count = 0
    with timed() as stopwatch:
        for numbers, _, values in columns:
            count += len(values)
            for number, value in zip(numbers.tolist(), values.tolist(), strict=True):
                bound[number].observe(value)
    found = {"count": np.zeros(len(bound)), "sum": np.zeros(len(bound))}
    for metric in registry.collect():
        for sample in metric.samples:
            name = sample.name.removeprefix("latency_")
            if name in found:
                found[name][int(sample.labels["n"])] = sample.value
    return Outcome(
        {"points_per_s": stopwatch.per_s(count)},
        totals_check(found["count"], found["sum"]),
        ("histograms with 15 buckets: no windows, no event time, no quantiles within 1 %",),
    )


if __name__ == "__main__":
    serve({"windows": windows})
