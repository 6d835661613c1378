"""The scheduler: runs the sub-tasks of a plan on executors, in the order their needs allow.

`core` decides and is pure; its shell, in `actors/executions/`, performs its effects.
"""

__all__: list[str] = []
