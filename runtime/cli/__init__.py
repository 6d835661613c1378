"""The command line: one module for each command of `callboard`, and the parts that they share.

`run` and `sim` run something. `tree`, `top`, `why` and `doctor` show the state of systems, and
`down` stops one. `ls`, `show`, `tail`, `events` and `store` read journals. `cancel`, `approve`,
`resume` and `fork` change an execution. `commands/`
declares their options and their help, and imports nothing else.
"""

__all__: list[str] = []
