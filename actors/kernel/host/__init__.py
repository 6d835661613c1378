"""The host: one process, or its inline or simulated stand-in, that runs many cells.

`Host` is where the parts of the kernel meet. Its control actor carries out the root's
commands, extensions are the parts of roles, and the watchdog finds a blocked event loop.
"""

__all__: list[str] = []
