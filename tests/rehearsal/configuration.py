"""`cluster.yaml` for given machines: the file of the project, with the marked lines changed.

Only lines that the file itself tells its readers to change are changed (CHANGE, OFFLINE). So what
is rehearsed is what a user has.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

__all__ = ["Machines", "changed_lines", "for_machines"]

HEAD: Final = re.compile(r"^(  head_ip: )\S+$", re.MULTILINE)
WORKERS: Final = re.compile(r"^(  worker_ips:\n)(?:    - \S+\n)+", re.MULTILINE)
LOGIN: Final = re.compile(r"^(  ssh_user: )\S+", re.MULTILINE)
KEY: Final = re.compile(r"^(  ssh_private_key: )\S+$", re.MULTILINE)
RAY: Final = re.compile(r'"ray\[default\]==[\d.]+"')
OFFLINE: Final = re.compile(r'^  # ("~/callboard-wheelhouse": "wheelhouse")$', re.MULTILINE)


@final
@dataclass(frozen=True, slots=True)
class Machines:
    """What the marked lines say about the machines of a cluster."""

    head: str
    workers: tuple[str, ...]
    login: str
    key: str
    """The path of the login's key."""
    ray_version: str
    packages: tuple[str, ...] = ()
    """What the nodes install besides."""
    is_offline: bool = False


def _once(pattern: re.Pattern[str], replacement: str, text: str) -> str:
    changed, count = pattern.subn(replacement, text)
    if count != 1:
        raise ValueError(f"cluster.yaml has {count} lines like {pattern.pattern!r}, not one.")
    return changed


def for_machines(text: str, machines: Machines) -> str:
    """The text of `cluster.yaml` for these machines.

    Raises `ValueError` when the text has none of the lines, or more than one like it.
    """
    workers = "".join(f"    - {address}\n" for address in machines.workers)
    packages = " ".join([f'"ray[default]=={machines.ray_version}"', *machines.packages])
    for pattern, replacement in (
        (HEAD, rf"\g<1>{machines.head}"),
        (WORKERS, rf"\g<1>{workers}"),
        (LOGIN, rf"\g<1>{machines.login}"),
        (KEY, rf"\g<1>{machines.key}"),
        (RAY, packages),
    ):
        text = _once(pattern, replacement, text)
    return _once(OFFLINE, r"  \g<1>", text) if machines.is_offline else text


def changed_lines(before: str, after: str) -> Sequence[str]:
    """The lines of `after` that `before` does not have."""
    known = set(before.splitlines())
    return [line for line in after.splitlines() if line not in known]
