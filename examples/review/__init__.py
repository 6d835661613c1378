"""Review a Python source tree with many specialised agents: the main demo.

The domain lives in plain modules that know nothing of actors, so that
`sequential.py` can run the same work as a loop and the two can be compared byte for
byte. In the order in which a review passes through them:

- `tree.py` finds the files, `source.py` reads one safely;
- `analysers/` holds one specialist per file, `batch.py` lets one work on some files;
- `resolve.py` settles what several specialists said about the same place;
- `report/` summarises, and writes JSON, SARIF, HTML and the terminal's summary.

Invariant: what is reported depends only on the tree's content, never on batches,
order, process, working directory, clock or the root's own name.
"""
