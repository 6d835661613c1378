"""Write reports into a folder. A check precedes the work, and each write is atomic."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from callboard.errors import OutputError

from .html import render_html
from .model import Report
from .report_json import render_json
from .sarif import render_sarif

__all__ = ["REPORT_NAMES", "prepare_output", "write_atomically", "write_reports"]

REPORT_NAMES: Final = ("report.json", "report.sarif", "report.html")
ADVICE: Final = "Name a folder that you may write to."


def prepare_output(folder: Path | str) -> Path:
    """Create the output folder, and check that it is writable.

    Call it before the work begins. It writes and removes a small file, because permissions alone
    do not prove that writing works. Raises OutputError, with the name of the folder.
    """
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place, prefix=".probe-"):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"cannot write into {place}: {reason}.", advice=ADVICE) from error
    for name in REPORT_NAMES:
        if (place / name).is_dir():
            raise OutputError(
                f"cannot write {place / name}: a folder has that name.", advice=ADVICE
            )
    return place


def write_atomically(target: Path, data: bytes) -> None:
    """Replace `target` by `data`. A reader sees the old content or the new, never a part.

    Raises OutputError when it cannot be written. Then `target` is unchanged.
    """
    unfinished: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=f".{target.name}-", delete=False
        ) as stream:
            unfinished = Path(stream.name)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.chmod(0o600)  # It quotes the code: who shares it opens it to others.
        unfinished.replace(target)
    except OSError as error:
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)
        raise OutputError(f"cannot write {target}: {error.strerror}.", advice=ADVICE) from error


def write_reports(
    report: Report,
    folder: Path | str,
    timings: Mapping[str, float] | None = None,
    *,
    root: Path | None = None,
) -> tuple[Path, ...]:
    """Write `report.json`, `report.sarif` and `report.html`. Gives their paths.

    The page shows source lines if `root` is the tree.
    Raises OutputError when one cannot be written.
    """
    place = prepare_output(folder)
    contents = {
        "report.json": render_json(report, timings),
        "report.sarif": render_sarif(report),
        "report.html": render_html(report, timings, root=root),
    }
    for name, data in contents.items():
        write_atomically(place / name, data)
    return tuple(place / name for name in REPORT_NAMES)
