"""The files of the page, read once: no path of a request ever reaches the disk.

All of them are served below a folder whose name is a digest of their contents, so that browsers
keep them for ever and never mix two releases. The modules import each other by relative paths, so
only `index.html` needs the name of that folder.
"""

import hashlib
from pathlib import Path
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from callboard.messages.core.errors import UsageError

from .problems import problem

__all__ = ["PageFiles"]

TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
BYTES_MAX: Final = 4 << 20
"""All files together: they stay in memory."""
FOR_EVER: Final = "public, max-age=31536000, immutable"
DIGEST_CHARS: Final = 16
INDEX: Final = "index.html"
FOLDER: Final = "static/"


class _File(NamedTuple):
    data: bytes
    media_type: str
    etag: str


class PageFiles:
    """The page in a folder. Raises `UsageError` if it has no `index.html`, or too much."""

    def __init__(self, folder: Path) -> None:
        root = folder.resolve()
        found = {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.suffix in TYPES and path.is_file() and not _has_link(path, root)
        }
        if INDEX not in found or sum(map(len, found.values())) > BYTES_MAX:
            raise UsageError(
                f"The page in {folder.name!r} has no {INDEX}, or more than {BYTES_MAX} bytes.",
                advice="Install Callboard again, or leave the page out.",
            )
        whole = hashlib.sha256()
        for name, data in found.items():
            whole.update(f"{name}\0{len(data)}\0".encode() + data)
        self.digest: Final = whole.hexdigest()[:DIGEST_CHARS]
        """Names this release of the page."""
        place = f'"{FOLDER}{self.digest}/'.encode()
        found[INDEX] = found[INDEX].replace(f'"{FOLDER}'.encode(), place)
        self._files: Final = {name: _file(name, data) for name, data in found.items()}

    def routes(self) -> list[Route]:
        """The page itself at `/`, and its files."""
        return [
            Route("/", self._index, methods=["GET"]),
            Route("/static/{digest}/{name:path}", self._asset, methods=["GET"]),
        ]

    async def _index(self, request: Request) -> Response:
        return _answer(request, self._files[INDEX], "no-cache")

    async def _asset(self, request: Request) -> Response:
        file = self._files.get(request.path_params["name"])
        if file is None or request.path_params["digest"] != self.digest:
            return problem(404, "The page has no such file.", code="not_found")
        return _answer(request, file, FOR_EVER)


def _file(name: str, data: bytes) -> _File:
    etag = hashlib.sha256(data).hexdigest()[:DIGEST_CHARS]
    return _File(data, TYPES[Path(name).suffix], f'"{etag}"')


def _answer(request: Request, file: _File, cache: str) -> Response:
    headers = {"etag": file.etag, "cache-control": cache}
    known = [etag.strip().removeprefix("W/") for etag in _known(request).split(",")]
    if file.etag in known or known == ["*"]:
        return Response(status_code=304, headers=headers)
    return Response(file.data, headers=headers, media_type=file.media_type)


def _known(request: Request) -> str:
    return request.headers.get("if-none-match", "")


def _has_link(path: Path, root: Path) -> bool:
    """Whether the file, or a folder on the way to it, is a symbolic link out of the page."""
    return not path.resolve().is_relative_to(root)
