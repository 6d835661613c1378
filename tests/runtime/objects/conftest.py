"""The object stores of the contract, and windows for segments."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from callboard.actors.storage.objects import ObjectStore
from callboard.runtime.objects.choose import object_store

KINDS: Final = ("local", "memory")


@pytest.fixture(params=KINDS)
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    """An empty object store."""
    url = str(tmp_path / "objects") if request.param == "local" else "memory:///"
    store = object_store(url, durability="off")
    store.open()
    yield store
    store.close()
