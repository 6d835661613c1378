"""The tokens of a system, where its web server and the command line find them."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from callboard.messages.core.errors import SpecError, UsageError
from callboard.messages.core.names import check_name

from ..executions.journals import home
from ..stores.choose import read_model_store
from ..stores.private import narrow, private_folder
from ..web.token_keys import KeyFile
from ..web.token_registry import TokenRegistry

if TYPE_CHECKING:
    from ..web.tokens import Tokens

__all__ = ["open_tokens", "token_files"]


def token_files(system: str) -> tuple[str, Path]:
    """The default store and the file of keys of a system: files below `CALLBOARD_HOME`."""
    check_name("the system's name", system, error=UsageError)
    if "/" in system or system.startswith("."):
        raise UsageError(
            f"the system's name {system!r} is no name of a file.", advice="Name a store: --store."
        )
    folder = home(os.environ) / "tokens"
    return str(folder / f"{system}.db"), folder / f"{system}.keys"


@contextlib.asynccontextmanager
async def open_tokens(
    system: str, *, store: str = "", keys: Path | None = None
) -> AsyncIterator["Tokens"]:
    """The tokens of a system, until the end of the block.

    `store` is the URL of their registry, and `keys` the file of the keys that sign them; both are
    made if they are missing. All web servers of a system have the same ones.

    Raises `SpecError` without the extra `web`, `UsageError`, `OSError` and the store's errors.
    """
    try:
        from ..web.tokens import Tokens
    except ImportError as error:
        raise SpecError(
            f"tokens need the package PyJWT ({error}).",
            advice="Install the extra: pip install 'callboard[web]'.",
        ) from None
    default_store, default_keys = ("", Path()) if store and keys else token_files(system)
    if not store:
        private_folder(Path(default_store).parent)
        narrow((Path(default_store).parent,))
    opened = read_model_store(store or default_store)
    await asyncio.to_thread(opened.open)
    try:
        found = await asyncio.to_thread(KeyFile, keys or default_keys)
        yield Tokens(found, TokenRegistry(opened, system), system)
    finally:
        await asyncio.to_thread(opened.close)
