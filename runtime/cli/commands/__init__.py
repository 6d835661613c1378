"""The commands as click sees them: names, options, help.

Nothing here imports what a command needs to run, so `--help` is instant for each of them.
"""

__all__: list[str] = []
