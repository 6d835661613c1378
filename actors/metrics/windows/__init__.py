"""The core of a shard of metric windows: plain state and functions, without a loop or a clock."""

__all__: list[str] = []
