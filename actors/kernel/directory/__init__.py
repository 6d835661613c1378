"""Names and offers on one host: routing, and subscriptions to their changes."""

__all__: list[str] = []
