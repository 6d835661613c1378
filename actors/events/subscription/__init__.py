"""Catch-up subscriptions: from a position through the store, then live, without gap or repeat."""

__all__: list[str] = []
