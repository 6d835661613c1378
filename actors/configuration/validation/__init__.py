"""The four gates: schema, semantics, security, compatibility."""

__all__: list[str] = []
