"""The HTTP API: routes over the requests of the admin API."""

__all__: list[str] = []
