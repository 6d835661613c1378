"""Pipelines: batches of rows through stages, with accounts that hold, from a source to a sink."""

__all__: list[str] = []
