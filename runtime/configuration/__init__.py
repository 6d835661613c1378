"""Where configuration comes from: folders, git repositories, and the scanner for secrets."""

__all__: list[str] = []
