"""Every relative link in the documents leads to a file, and to a heading where it names one."""

import re
from pathlib import Path
from typing import Final

LINK: Final = re.compile(r"!?\[[^\]\n]*\]\(<?([^)>\s]+)>?(?:\s+\"[^\"]*\")?\)")
FENCE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE: Final = re.compile(r"`[^`\n]+`")
HEADING: Final = re.compile(r"^#+\s+(.*?)\s*$", re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(text))
    return {heading.replace(" ", "-") for heading in kept}


def broken_links(file: Path, root: Path) -> list[str]:
    text = FENCE.sub("", file.read_text(encoding="utf-8"))
    broken = []
    for target in LINK.findall(CODE.sub("", text)):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):  # a link to elsewhere: no network in tests
            continue
        path, _, anchor = target.partition("#")
        leads_to = (file.parent / path).resolve() if path else file
        if not leads_to.exists() or not leads_to.is_relative_to(root):
            broken.append(f"{file.relative_to(root)}: {target}")
        elif anchor and leads_to.suffix == ".md":
            headings = anchors(FENCE.sub("", leads_to.read_text(encoding="utf-8")))
            if anchor not in headings:
                broken.append(f"{file.relative_to(root)}: {target} (no such heading)")
    return broken


def test_links_lead_somewhere(root: Path, repository_files: list[Path]) -> None:
    documents = [root / file for file in repository_files if file.suffix == ".md"]
    assert documents
    assert not [link for document in documents for link in broken_links(document, root)]


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A heading, with `code`\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md) [b](there.md#a-heading-with-code) [c](https://example.org/x)\n"
        "[d](missing.md) [e](there.md#nowhere) `[f](code.md)`\n"
        "```\n[g](fenced.md)\n```\n"
    )
    assert broken_links(page, tmp_path) == [
        "page.md: missing.md",
        "page.md: there.md#nowhere (no such heading)",
    ]
