"""The keys that sign tokens: a file that only its owner can read.

Each key has an id and one algorithm. A token names a key by its id; an algorithm that it names
itself, or a key that it brings along, never counts.
"""

import base64
import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from callboard.messages.core.errors import UsageError

from ..stores.private import narrow, private_folder, write_private

__all__ = ["TokenKey", "TokenKeys", "new_keys", "open_keys"]

ALGORITHMS: Final = ("HS256",)
SECRET_BYTES: Final = 32
FILE_BYTES_MAX: Final = 1 << 16


class TokenKey(NamedTuple):
    """One key."""

    id: str
    algorithm: str
    secret: bytes

    def __repr__(self) -> str:
        return f"TokenKey({self.id!r})"  # The secret must not get into a log.


class TokenKeys(NamedTuple):
    """All keys: the newest signs, all of them count."""

    newest: TokenKey
    by_id: Mapping[str, TokenKey]


def new_keys() -> TokenKeys:
    """One new key, for tests and for systems that end with their process."""
    key = TokenKey(secrets.token_hex(4), ALGORITHMS[0], secrets.token_bytes(SECRET_BYTES))
    return TokenKeys(key, {key.id: key})


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
                str(name), str(row["algorithm"]), base64.b64decode(row["secret"], validate=True)
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
