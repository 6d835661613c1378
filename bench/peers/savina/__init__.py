"""The Savina games as the peers play them.

The three Python peers play the same roles (`micro.py`, `crowds.py`): plain objects that
take tuples and tell tuples. What a library adds is in its own module: how an actor is
made, and how a tuple reaches it. Erlang has its own source.
"""
