"""The event log for the user's own domain: typed events, subscriptions, commands, queries.

`actors/journal` is the log itself. Everything here reads and appends through the ports of
`messages/storage/events.py` and `messages/storage/stores.py`, so it works on every store.
"""

__all__: list[str] = []
