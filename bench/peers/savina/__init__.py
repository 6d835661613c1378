"""The Savina games of the peers.

The three Python peers share the roles (`micro.py`, `many_to_many.py`), which are plain objects that
receive and send tuples, and the drivers of the games (`drivers.py`). The module of a library
defines how an actor is made, and how a tuple reaches it. Erlang has its own source.
"""
