"""One execution: a submitted request on its whole way, from validation to delivery.

`execution` walks the way, `run` is the shell of the scheduler's core, `concurrency` decides how
much work is under way at each executor.
"""

__all__: list[str] = []
