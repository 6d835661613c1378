"""Ray's dashboard: Callboard prints its address and how to log in, and names are plain there."""

import asyncio
import re
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from ray.util import list_named_actors

from callboard.runtime.api.start import start
from callboard.runtime.engines.ray.dashboard import dashboard_notice


def test_the_notice_names_the_address_and_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    notice = dashboard_notice("127.0.0.1:8265")
    assert "http://127.0.0.1:8265;" in notice
    assert "`ray get-auth-token`" in notice
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert dashboard_notice("http://127.0.0.1:8265") == "Ray's dashboard: http://127.0.0.1:8265"
    assert "no dashboard" in dashboard_notice("")


def log_in(url: str) -> int:
    """Log in as the notice says; gives the status of the answer."""
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(url, timeout=30.0)
    shown = subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", "get-auth-token"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    headers = {"Authorization": f"Bearer {shown.stdout.split()[-1]}"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30.0) as got:
        return int(got.status)


@pytest.mark.soak
@pytest.mark.ray
async def test_the_dashboard_opens_with_what_was_printed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async with start(hosts=1, standbys=1, name="seen", dashboard=True, start_timeout_s=90.0):
        actors = list_named_actors(all_namespaces=True)
        found = re.search(r"Ray's dashboard: (http://\S+); log in with", capfd.readouterr().err)
        assert found is not None
        assert await asyncio.to_thread(log_in, f"{found[1]}/api/version") == 200
    names = sorted(actor["name"] for actor in actors if actor["name"].startswith("seen"))
    assert [re.sub(r"^seen-\w+?-", "", name) for name in names] == ["host-1", "standby-2"]
