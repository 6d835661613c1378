"""Pools: many agents that serve one mailbox a host."""

__all__: list[str] = []
