"""`kills` for all sides: a steady load of asks, random kills, and the recovery of the rate.

`load.py` sends asks and records their outcomes, `killer.py` kills processes, `recovery.py` has the
arithmetic, and `measure.py` combines them for each side.
"""
