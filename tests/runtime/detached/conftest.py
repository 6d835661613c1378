"""One cluster for all tests of detached systems."""

from collections.abc import Iterator

import pytest

from .cluster import Cluster, running_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A Ray cluster that no driver has started."""
    with running_cluster() as started:
        yield started
