"""One execution: a submitted request, from validation to delivery.

`execution` calls the parts of its job in order, `run` is the shell of the scheduler's core, and
`concurrency` decides how many attempts each executor holds.
"""

__all__: list[str] = []
