"""Pools: on each host, many agents serve one mailbox."""

__all__: list[str] = []
