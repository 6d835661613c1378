"""Approvals: a question to a person, with a deadline and one answer."""

__all__: list[str] = []
