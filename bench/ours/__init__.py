"""Callboard's side of each bench: one module for each bench, with one function.

`bench/ours/NAME.py` has `run(params: Params) -> Outcome`. It runs the workload of `bench.workload`
with these sizes and returns the figures with the check of its output.
"""
