"""The cost of the control plane on the simulated engine: what is counted, the events, the table.

`python -m bench scale --table` writes the table of `docs/scale.md`.
"""

__all__: list[str] = []
