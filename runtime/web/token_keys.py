"""The keys that sign tokens: a file that only its owner can read.

Each key has an id and one algorithm. A token names a key by its id; an algorithm that it names
itself, or a key that it brings along, never counts.

The newest key signs, and all of them count. `rotate_keys` adds one; `remove_old_keys` ends what the
others have signed. Servers that run see both within `CHECKED_EACH_S`.
"""

import base64
import contextlib
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from callboard.messages.core.errors import UsageError

from ..stores.file_lock import FileLock
from ..stores.private import narrow, private_folder, write_private

__all__ = [
    "KeyFile",
    "Keys",
    "TokenKey",
    "TokenKeys",
    "new_keys",
    "open_keys",
    "remove_old_keys",
    "rotate_keys",
]

LOGGER: Final = logging.getLogger("callboard.web")
ALGORITHMS: Final = ("HS256",)
SECRET_BYTES: Final = 32
FILE_BYTES_MAX: Final = 1 << 16
KEYS_MAX: Final = 32
CHECKED_EACH_S: Final = 0.4
"""How old what a server knows of the file may be: with the registry's check, under a second."""


class TokenKey(NamedTuple):
    """One key."""

    id: str
    algorithm: str
    secret: bytes
    created_at: float = 0.0
    """When it was made, in seconds since 1970; 0 for a key of an earlier release."""
    created_by: str = ""
    """Who made it."""

    def __repr__(self) -> str:
        return f"TokenKey({self.id!r})"  # The secret must not get into a log.


class TokenKeys(NamedTuple):
    """All keys: the newest signs, all of them count."""

    newest: TokenKey
    by_id: Mapping[str, TokenKey]


class Keys(Protocol):
    """The keys of now."""

    @property
    def newest(self) -> TokenKey:
        """The key that signs."""

    @property
    def by_id(self) -> Mapping[str, TokenKey]:
        """All keys that count."""


class KeyFile:
    """The keys in a file, as they are now: `Keys`.

    A file that cannot be read any more changes nothing; the log says so. `monotonic` gives seconds.
    """

    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Read the file. Raises what `open_keys` raises."""
        self._path: Final = path
        self._monotonic: Final = monotonic
        self._keys = open_keys(path)
        self._seen = _version_of(path)
        self._checked_s = monotonic()

    @property
    def newest(self) -> TokenKey:
        """See `Keys`."""
        return self._now().newest

    @property
    def by_id(self) -> Mapping[str, TokenKey]:
        """See `Keys`."""
        return self._now().by_id

    def _now(self) -> TokenKeys:
        now_s = self._monotonic()
        if now_s - self._checked_s >= CHECKED_EACH_S:
            self._checked_s = now_s
            try:
                seen = _version_of(self._path)
                if seen != self._seen:
                    self._keys = _read(self._path)
                    self._seen = seen
            except (OSError, UsageError) as error:
                LOGGER.warning("the keys of before stay: %s", error)
        return self._keys


def _version_of(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def new_keys() -> TokenKeys:
    """One new key, for tests and for systems that end with their process."""
    key = _new_key("", 0.0)
    return TokenKeys(key, {key.id: key})


def _new_key(by: str, now: float) -> TokenKey:
    secret = secrets.token_bytes(SECRET_BYTES)
    return TokenKey(secrets.token_hex(4), ALGORITHMS[0], secret, now, by)


def rotate_keys(path: Path, *, by: str, now: float) -> TokenKeys:
    """Add a key, which signs from now on; those of before still count.

    It is on the disk when this returns. Raises `UsageError` with too many keys or for a damaged
    file, and `OSError`.
    """
    with _changing(path):
        keys = open_keys(path)
        if len(keys.by_id) >= KEYS_MAX:
            raise UsageError(
                f"{path} has {KEYS_MAX} keys, which is the limit.",
                advice="Remove the old ones: `callboard token rotate --remove-old`.",
            )
        key = _new_key(by, now)
        return _replace(path, TokenKeys(key, {**keys.by_id, key.id: key}))


def remove_old_keys(path: Path) -> tuple[TokenKey, ...]:
    """Remove all keys but the newest; gives those that are gone.

    What they have signed counts no more. Raises what `rotate_keys` raises.
    """
    with _changing(path):
        keys = open_keys(path)
        _replace(path, TokenKeys(keys.newest, {keys.newest.id: keys.newest}))
        return tuple(key for key in keys.by_id.values() if key.id != keys.newest.id)


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[None]:
    private_folder(path.parent)
    lock = FileLock(path)
    if not lock.take():
        raise UsageError(f"process {lock.owner()} changes {path} now.", advice="Try again.")
    try:
        yield
    finally:
        lock.release()


def _replace(path: Path, keys: TokenKeys) -> TokenKeys:
    made = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        write_private(made, json.dumps(_to_data(keys)))
        with made.open("rb") as file:
            os.fsync(file.fileno())
        made.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        made.unlink(missing_ok=True)
    return keys


def open_keys(path: Path) -> TokenKeys:
    """The keys in a file, which is made with a new key if it is missing.

    Two processes that make it at once get the same key. Raises `UsageError` for a damaged file,
    and `OSError`.
    """
    private_folder(path.parent)
    with contextlib.suppress(FileNotFoundError):
        return _read(path)
    made = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    write_private(made, json.dumps(_to_data(new_keys())))
    with contextlib.suppress(FileExistsError):
        os.link(made, path)
    made.unlink()
    return _read(path)


def _to_data(keys: TokenKeys) -> dict[str, Any]:
    return {
        "newest": keys.newest.id,
        "keys": {
            key.id: {
                "algorithm": key.algorithm,
                "secret": base64.b64encode(key.secret).decode(),
                "created_at": key.created_at,
                "created_by": key.created_by,
            }
            for key in keys.by_id.values()
        },
    }


def _read(path: Path) -> TokenKeys:
    narrow((path,))
    with path.open("rb") as file:
        text = file.read(FILE_BYTES_MAX)
    try:
        data = json.loads(text)
        keys = {
            str(name): TokenKey(
                str(name),
                str(row["algorithm"]),
                base64.b64decode(row["secret"], validate=True),
                float(row.get("created_at", 0.0)),
                str(row.get("created_by", "")),
            )
            for name, row in data["keys"].items()
        }
        found = TokenKeys(keys[data["newest"]], keys)
        is_right = all(
            key.algorithm in ALGORITHMS and len(key.secret) >= SECRET_BYTES for key in keys.values()
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _damaged(path) from None
    if not is_right:
        raise _damaged(path)
    return found


def _damaged(path: Path) -> UsageError:
    return UsageError(
        f"{path} is no file of keys for tokens.",
        advice="Delete it to get a new key; then all tokens have to be made again.",
    )
