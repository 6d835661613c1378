"""The stream hub: channels, their history and subscriptions, and what each client gets of them."""

__all__: list[str] = []
