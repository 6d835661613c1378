"""Options that several commands share."""

import click
import pytest

from callboard.runtime.cli.options import HostCount


@pytest.mark.parametrize(("text", "wanted"), [("3", "3"), ("auto", "auto"), (2, "2")])
def test_hosts_are_a_number_or_auto(text: object, wanted: str) -> None:
    assert HostCount().convert(text, None, None) == wanted


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "AUTO", ""])
def test_other_hosts_are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        HostCount().convert(text, None, None)
