"""Supervision: which children start, restart and stop, and when.

`core` decides and does nothing else; the shell that holds a core performs its effects. Data
never flows through a supervisor.
"""

__all__: list[str] = []
