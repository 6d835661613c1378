"""Asks in a circle: A asks B, and B asks A, which handles no other message until B has answered.

`waits` finds the tasks that wait for an ask, `runs` the handlers and hooks that these tasks are,
`search` is the state of a search on its way between hosts, and `circles` searches.
"""

__all__: list[str] = []
