"""A head with `--block`, as docs/detached.md recommends it: Ctrl-C ends it, and no other Ray."""

import os
import signal
from typing import Final

import psutil
import pytest

from .cluster import gone, running_cluster

pytestmark = [pytest.mark.ray, pytest.mark.soak]
ENDS_WITHIN_S: Final = 30.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_of_a_head_ends_its_cluster_and_no_other(number: signal.Signals) -> None:
    with running_cluster() as other, running_cluster() as cluster:
        mine, theirs = head_of(cluster.address), head_of(other.address)
        daemons = [child.pid for child in mine.children(recursive=True)]
        assert daemons
        os.kill(mine.pid, number)
        mine.wait(ENDS_WITHIN_S)
        gone(daemons)
        assert theirs.is_running()
        assert [child.name() for child in theirs.children() if "gcs_server" in child.name()]


def head_of(address: str) -> psutil.Process:
    """The process of `ray start` at this address."""
    port = f"--port={address.rpartition(':')[2]}"
    (found,) = [child for child in psutil.Process().children() if port in child.cmdline()]
    return found
