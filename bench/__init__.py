"""The benchmarks: one question each, ours and the peers' in the same run.

`python -m bench list` names them; `bench/README.md` tells how a figure is taken and
how to add a bench or a peer.
"""
