"""The scheduler: runs the sub-tasks of a plan on executors, in the order their needs allow.

`core` decides, purely; `actor` does what it says.
"""

__all__: list[str] = []
