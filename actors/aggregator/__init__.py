"""The aggregator: merges the results of sub-tasks, and settles conflicts between agents.

`reducers` and `conflicts` are pure. The same results give the same outcome, whatever the order
of their arrival.
"""

__all__: list[str] = []
