"""The aggregator: merges the results of sub-tasks, and settles what agents disagree about.

`reducers` and `conflicts` are pure; the same results give the same outcome in whatever
order, and in whatever portions, they arrive.
"""

__all__: list[str] = []
