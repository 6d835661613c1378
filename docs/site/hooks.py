"""Pages of the site that lie outside `docs/`, and links that lead to them.

The README is the site's first page; ARCHITECTURE.md and its neighbours are pages, too. They
stay where readers of the repository look for them, and the site gets a copy at each build. A
link to a file that is no page (a licence, a script) becomes that file's name.
"""

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

__all__ = ["on_files", "on_page_markdown"]

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "bench/README.md": "bench.md",
    "examples/review/README.md": "review.md",
}
"""Files of the repository, and where they are on the site."""

LINK: Final = re.compile(
    r"\[(?P<text>[^\]]*)\]\((?!https?:|#)(?P<target>[^)#\s]+)(?P<part>#\S+)?\)"
)


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Add the pages that lie outside `docs/`."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, files: "Files", **_: Any) -> str:
    """Let each link lead to the site's page of the file that it names."""
    on_site = page.file.src_uri
    sources = {there: source for source, there in PAGES.items()}
    folder = posixpath.dirname(sources.get(on_site, f"docs/{on_site}"))

    def replace(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link["target"]))
        there = PAGES.get(target, target.removeprefix("docs/"))
        if (ROOT / target).is_dir():
            there = posixpath.join(there, "README.md")
        if files.get_file_from_path(there) is None:
            if not (ROOT / target).exists():
                return link[0]  # Strict mode reports it.
            return link["text"] if "`" in link["text"] else f"`{target}`"
        way = posixpath.relpath(there, posixpath.dirname(on_site) or ".")
        return f"[{link['text']}]({way}{link['part'] or ''})"

    return LINK.sub(replace, markdown)
