"""What users test their own actors with; `callboard.testing` is its public face."""

__all__: list[str] = []
