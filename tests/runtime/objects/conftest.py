"""The object stores of the contract, and windows for segments."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from callboard.actors.storage.objects import ObjectStore
from callboard.runtime.objects.choose import object_store

KINDS: Final = ("local", "memory", "s3")


@pytest.fixture(params=KINDS)
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    """An empty object store."""
    options: dict[str, Any] = {}
    url = str(tmp_path / "objects") if request.param == "local" else "memory:///"
    if request.param == "s3":
        # Requested here, so that the other stores start no server.
        url, options = request.getfixturevalue("s3_bucket")
    store = object_store(url, durability="off", **options)
    store.open()
    yield store
    store.close()
