"""Children of a tree that run on another host than their supervisor."""

__all__: list[str] = []
