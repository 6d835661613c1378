"""The four gates: schema, semantics, security, compatibility."""
