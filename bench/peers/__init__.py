"""The peers: each is a module, run in its own process.

A peer uses its fastest way: plain dictionaries or objects, its own serialiser, no validation, the
best concurrency. Its work is the same as ours: the same contents sent, the same answers computed,
the output checked.
"""
