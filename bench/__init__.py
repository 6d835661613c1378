"""The benchmarks: one question each, for Callboard and its peers in the same run.

`python -m bench list` lists them. `bench/README.md` explains how a figure is measured, and how to
add a bench or a peer.
"""
