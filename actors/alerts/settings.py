"""What the setting `alerts` of a system may say."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from callboard.messages.core.errors import SpecError

if TYPE_CHECKING:  # A driver without files of rules loads no YAML.
    from .files import AlertFiles

__all__ = ["AlertSettings", "AlertsSetting", "alert_settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """The rules of a system, its receivers, and where the states of alerts are kept."""

    files: "Sequence[str | os.PathLike[str]] | AlertFiles" = ()
    """The paths of files of rules, receivers and routes, which the driver reads; or an
    `AlertFiles` made in Python. `reload_alerts` reads the paths again."""
    defaults: bool = True
    """Whether the rules for Callboard itself are evaluated as well."""
    store: str = ""
    """The store of the states of alerts, a path or a URL; empty for the store of the metrics."""


AlertsSetting: TypeAlias = (
    bool | str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | AlertSettings
)


def alert_settings(said: object) -> AlertSettings:
    """What a value of the setting `alerts` means. Raises `SpecError`."""
    if isinstance(said, AlertSettings):
        return said
    if isinstance(said, str | os.PathLike) and os.fspath(said):
        said = (said,)
    if said is True:
        return AlertSettings()
    if not isinstance(said, list | tuple) or not all(
        isinstance(path, str | os.PathLike) and os.fspath(path) for path in said
    ):
        raise SpecError(
            f"setting alerts is {said!r:.100}.",
            advice="It must be True or False, paths of files of rules, or an AlertSettings.",
            field="alerts",
        )
    # Absolute now: the driver may change its folder.
    return AlertSettings(files=tuple(os.path.abspath(path) for path in said))  # noqa: PTH100
