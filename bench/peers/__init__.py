"""The peers: each a module of its own, run as a process of its own.

A peer gets its own cheapest way: plain dictionaries or objects and its own serialiser,
no validation, the concurrency that suits it. What it must do is what ours must: the same
contents sent, the same answers computed, the output checked.
"""
