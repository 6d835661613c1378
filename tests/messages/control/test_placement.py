"""Placements: what Ray would refuse or wait for without a word is refused by name."""

from typing import Any

import pytest

from callboard.messages.control.placement import ANYWHERE, Placement, Resources
from callboard.messages.core.errors import SpecError


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cpus", -1),
        ("cpus", 1.5),
        ("cpus", True),
        ("gpus", float("inf")),
        ("gpus", float("nan")),
        ("memory_bytes", 1.5),
        ("memory_bytes", -1),
        ("custom", {"CPU": 1}),
        ("custom", {"": 1}),
        ("custom", {"tpu": -1}),
        ("node_labels", {"zone": 1}),
        ("node_labels", {"": "a"}),
    ],
)
def test_wrong_resources_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(SpecError) as caught:
        Resources(**{field: value})
    assert str(caught.value.details["field"]).startswith(f"Resources.{field}")


@pytest.mark.parametrize("host", [0, -1, True, 1.0, "", 1_000_001])
def test_host_is_a_number_from_one_or_a_name(host: Any) -> None:
    with pytest.raises(SpecError, match=r"Placement\.host"):
        Placement(host)


def test_isolated_is_not_on_another_host() -> None:
    with pytest.raises(SpecError, match="together with isolated"):
        Placement("gpu-1", Resources())
    with pytest.raises(SpecError, match=r"Placement\.isolated"):
        Placement(isolated={"gpus": 1})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "placement",
    [
        ANYWHERE,
        Placement(2),
        Placement("gpu-1"),
        Placement(
            isolated=Resources(2, 0.5, 1 << 30, {"tpu": 1}, {"zone": "in(a,b)", "disk": "!hdd"})
        ),
    ],
)
def test_placement_survives_its_way_as_data(placement: Placement) -> None:
    assert Placement.from_data(placement.to_data()) == placement
