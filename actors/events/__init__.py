"""The event log for the users' own domain: typed events, subscriptions, commands, queries.

The log itself is `actors/journal`; everything here reads and appends through the ports of
`messages/storage/events.py` and `messages/storage/stores.py`, so it works on every store.
"""

__all__: list[str] = []
