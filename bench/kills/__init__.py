"""`kills`, whoever is killed: a steady load of asks, the killer, and what became of the rate.

`load.py` asks and keeps the book, `killer.py` kills, `recovery.py` is the arithmetic, and
`measure.py` puts them together for each side.
"""
