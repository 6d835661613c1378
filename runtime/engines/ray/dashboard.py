"""Ray's dashboard: its address, and how to log in, in one line for people."""

import os
from typing import Final

__all__ = ["dashboard_notice"]

LOG_IN: Final = "; log in with the token that `ray get-auth-token` prints"


def dashboard_notice(url: str) -> str:
    """What to tell a user who asked for the dashboard; `url` as Ray gives it, or empty."""
    if not url:
        return "Ray has started no dashboard: is `ray[default]` installed?"
    if "://" not in url:
        url = f"http://{url}"
    # Ray turns authentication on for a local cluster, and says so only in this variable.
    has_token = os.environ.get("RAY_AUTH_MODE", "").strip().lower() == "token"
    return f"Ray's dashboard: {url}{LOG_IN if has_token else ''}"
