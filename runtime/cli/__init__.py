"""The command line: a module for each command of `callboard`, and what they share.

`run` and `sim` run something; `tree`, `top`, `why` and `doctor` look at systems, and `down` ends
one; `ls`, `show`, `tail`, `events` and `store` read journals; `cancel`, `approve`, `resume` and
`fork` change an execution. `commands.py` lists them.
"""

__all__: list[str] = []
