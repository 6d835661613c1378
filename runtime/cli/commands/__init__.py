"""The commands as click sees them: names, options, help.

A command imports its body, a function of its own name, when it runs. So `--help` is instant for
each of them.
"""

__all__: list[str] = []
