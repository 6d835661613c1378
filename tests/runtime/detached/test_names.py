"""The names of detached systems, and the clusters where they may run."""

import pytest

from callboard.messages.core.errors import SpecError
from callboard.runtime.engines.ray.detached_systems import cluster_address
from callboard.runtime.engines.ray.names import check_name, root_name, system_of
from callboard.runtime.hosting.settings import Settings


@pytest.mark.parametrize("name", ["", "a/b", "-x", ".", "a b", "x" * 65, "a\n"])
def test_a_name_that_others_could_not_find_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="cannot have the name"):
        check_name(name)


def test_a_root_is_distinguished_from_other_actors() -> None:
    check_name("reviews-2.b_1")
    assert system_of(root_name("reviews-2.b_1")) == "reviews-2.b_1"
    for other in ("reviews", "reviews-1-host-3", "/root", "a/b/root"):
        assert system_of(other) is None


@pytest.mark.parametrize("address", ["", "local"])
def test_without_a_cluster_that_outlives_the_driver_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(SpecError, match="ray start --head"):
        cluster_address(None)


def test_an_address_of_the_code_counts_more_than_the_environments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.10:6379")
    assert cluster_address(None) == "192.0.2.10:6379"
    assert cluster_address("auto") == "auto"


def test_the_inline_engine_has_nothing_to_detach() -> None:
    with pytest.raises(SpecError, match="detached"):
        Settings(engine="inline", detached=True)
