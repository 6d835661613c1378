"""Review a Python source tree with many specialised agents: the main demo.

The domain code is in plain modules without actors, so that `sequential.py` can run the same work as
a loop, and the results can be compared byte for byte. In the order of a review:

- `tree.py` finds the files, `source.py` reads a file safely;
- `analysers/` holds one specialist per module, `batch.py` runs a specialist on some files;
- `resolve.py` resolves the findings of several specialists about the same place;
- `report/` makes the summary, and writes JSON, SARIF, HTML and the terminal output.

Invariant: the report depends only on the content of the tree, never on batches, order, process,
working directory, clock or the name of the root.
"""
