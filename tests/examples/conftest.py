"""Shared ways to make trees and files for the review example's tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from examples.review.source import SourceFile, load_source


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, str | bytes], SourceFile]:
    """Writes a file into an empty tree (`tmp_path`), and loads it as agents do."""

    def write(path: str, content: str | bytes) -> SourceFile:
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        return load_source(tmp_path.resolve(), path)

    return write
