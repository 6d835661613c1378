"""Bytewax: the cost of a step that does nothing, for one item (a batch) on one worker."""

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main

from bench.entry import serve
from bench.outcome import Outcome, Params
from bench.timing import timed
from bench.workload import pipeline_check

__all__: list[str] = []


def pipeline(params: Params) -> Outcome:
    """Batches through steps that do nothing."""
    batch = tuple({"n": 1} for _ in range(100))
    count = params["batches"]
    taken: list[object] = []
    flow = Dataflow("bench")
    stream = op.input("in", flow, TestingSource([batch] * count, batch_size=100))
    for number in range(params["stages"]):
        stream = op.map(f"stage_{number}", stream, lambda item: item)
    op.output("out", stream, TestingSink(taken))
    with timed() as stopwatch:
        run_main(flow)
    each = count * params["stages"]
    note = "100 items in each of its own batches"
    return Outcome(
        {"stage_us": stopwatch.elapsed_s / each * 1e6},
        pipeline_check(len(taken), 0, 0, 0),
        (note,),
    )


if __name__ == "__main__":
    serve({"pipeline": pipeline})
