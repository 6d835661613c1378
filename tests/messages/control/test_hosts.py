"""Hosts as data: a wrong value raises an error where it is written, with the field's name."""

from typing import Any

import pytest

from callboard.messages.control.hosts import HOSTS_MAX, HostSpec, host_specs
from callboard.messages.control.placement import Resources
from callboard.messages.control.spec import AutoShutdown, Restart, StopTimeout, SupervisorSpec
from callboard.messages.core.errors import SpecError
from callboard.runtime.hosting.settings import Settings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", 7),
        ("count", 0),
        ("count", True),
        ("count", HOSTS_MAX + 1),
        ("resources", {"GPU": 1}),
        ("restart", "permanent"),
        ("stop_timeout", 5.0),
        ("significant", 1),
    ],
)
def test_wrong_field_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(SpecError) as caught:
        HostSpec(**{"name": "a", field: value})
    assert caught.value.details["field"] == f"HostSpec.{field}"


def test_permanent_host_is_not_significant() -> None:
    with pytest.raises(SpecError, match="permanent"):
        HostSpec("a", significant=True)


def test_two_hosts_of_one_name_are_refused() -> None:
    with pytest.raises(SpecError, match="'gpu-1'"):
        host_specs((HostSpec("gpu", count=2), HostSpec("gpu-1")))


@pytest.mark.parametrize("hosts", [(), 0, HOSTS_MAX + 1, (HostSpec("a", count=HOSTS_MAX),) * 2])
def test_none_or_too_many_are_refused(hosts: Any) -> None:
    with pytest.raises(SpecError):
        host_specs(hosts)


@pytest.mark.parametrize("hosts", [True, "2", 2.0, [1], ["a"]])
def test_settings_take_a_number_or_specs(hosts: Any) -> None:
    with pytest.raises(SpecError, match="hosts"):
        Settings(hosts=hosts)


def test_significant_host_needs_a_supervision_that_heeds_it() -> None:
    hosts = [HostSpec("a", restart=Restart.TRANSIENT, significant=True)]
    with pytest.raises(SpecError, match="significant"):
        Settings(hosts=hosts)
    heeds = SupervisorSpec(auto_shutdown=AutoShutdown.ANY_SIGNIFICANT)
    assert Settings(hosts=hosts, host_supervision=heeds).hosts == tuple(hosts)


def test_specs_come_one_by_one_in_order() -> None:
    gpu = Resources(gpus=1)
    specs = host_specs([HostSpec("store"), HostSpec("gpu", count=2, resources=gpu)])
    assert [(spec.name, spec.resources) for spec in specs] == [
        ("store", None),
        ("gpu-1", gpu),
        ("gpu-2", gpu),
    ]
    assert [spec.name for spec in host_specs(1)] == ["host-1"]


def test_spec_survives_its_way_as_data() -> None:
    spec = HostSpec("a", 2, Resources(gpus=0.5), Restart.TRANSIENT, StopTimeout(2.0), True)
    assert HostSpec.from_data(spec.to_data()) == spec
