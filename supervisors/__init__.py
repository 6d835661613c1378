"""Supervision: who is started, watched, restarted and stopped, and when.

`core` decides and does nothing else; whoever holds a core performs its effects. Data
never flows through a supervisor.
"""

__all__: list[str] = []
