"""Catch-up subscriptions: first from the store, then live, without a gap or a repetition."""

__all__: list[str] = []
