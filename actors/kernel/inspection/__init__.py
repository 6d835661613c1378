"""What a host shows of itself: views, histories, meters, metric sources."""

__all__: list[str] = []
