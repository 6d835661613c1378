"""The public API: systems, drivers, pools, and what opens them."""

__all__: list[str] = []
