"""Callboard's side of each bench: one file a bench, with one function.

`bench/ours/NAME.py` holds `run(params: Params) -> Outcome`: it runs the workload of
`bench.workload` with these sizes and returns the figures with the check of its output.
"""
