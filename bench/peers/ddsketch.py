"""The package ddsketch: `windows`, as a sketch for each series and minute."""

import numpy as np
from ddsketch import DDSketch

from bench.entry import serve
from bench.outcome import Outcome, Params
from bench.timing import timed
from bench.windows import MINUTE_NS, batches, totals_check

__all__: list[str] = []


def windows(params: Params) -> Outcome:
    """Each value into the sketch of its series and minute."""
    columns = list(batches(params["series"], params["points"], params["batch"]))
    sketches: dict[tuple[int, int], DDSketch] = {}
    count = 0
    with timed() as stopwatch:
        for numbers, times, values in columns:
            count += len(values)
            minutes = (times // MINUTE_NS).tolist()
            for name, value in zip(
                zip(numbers.tolist(), minutes, strict=True), values.tolist(), strict=True
            ):
                sketch = sketches.get(name)
                if sketch is None:
                    sketch = sketches[name] = DDSketch(0.01)
                sketch.add(value)
    counts, sums = np.zeros(params["series"]), np.zeros(params["series"])
    for (series, _), sketch in sketches.items():
        counts[series] += sketch.count
        sums[series] += sketch.sum
    return Outcome(
        {"points_per_s": stopwatch.per_s(count)},
        totals_check(counts, sums),
        ("one window of a minute, no event time",),
    )


if __name__ == "__main__":
    serve({"windows": windows})
