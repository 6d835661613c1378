"""The files of `config`: made-up ones of all formats, as many as 15 public repositories have."""

import json
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Final

from bench.outcome import Params, check_of

__all__ = ["config_check", "expected_config", "files_of", "synthetic"]

SENTENCE: Final = (
    "Reads the change, names what is wrong with its place, and proposes the smallest mend. "
)
FORMS: Final = 12
"""Different agents, commands and skills; further ones repeat them in other folders."""


def synthetic(agents: int = FORMS) -> Iterator[tuple[str, str]]:
    """Paths and texts: agents, commands, skills, settings, hooks, servers, plugins, our own."""
    for number in range(agents):
        colon = "Use it: always. " if number % 6 == 5 else ""
        yield (
            f"agents/reviewer-{number}.md",
            (
                f"---\nname: reviewer-{number}\ndescription: {colon}{SENTENCE * 3}\n"
                f"tools: Read, Grep, Bash(git diff *), mcp__files__read\nmodel: sonnet\n---\n"
                f"# Reviewer\n\n{SENTENCE * 60}\n"
            ),
        )
        yield (
            f"commands/mend-{number}.md",
            (
                f"---\ndescription: {SENTENCE}\nargument-hint: [issue] | --now\n"
                f"allowed-tools: Read, Edit\n---\nMend $ARGUMENTS.\n\n{SENTENCE * 40}\n"
            ),
        )
        yield (
            f"skills/writing-{number}/SKILL.md",
            f"---\nname: writing-{number}\ndescription: {SENTENCE}\nlicense: MIT\n---\n"
            + SENTENCE * 50,
        )
    hooks = {"Stop": [{"matcher": "*", "hooks": [{"type": "command", "command": "true"}]}]}
    rules = {"allow": ["Read", "Bash(git *)"], "deny": ["Read(//etc/**)"], "defaultMode": "plan"}
    server = {"type": "http", "url": "https://example.org/mcp", "headers": {"X": "${TOKEN}"}}
    for path, value in (
        (".claude/settings.json", {"permissions": rules, "hooks": hooks, "env": {"A": "1"}}),
        ("hooks/hooks.json", {"hooks": hooks}),
        (".mcp.json", {"mcpServers": {"files": {"command": "serve"}, "web": server}}),
        (
            "p/.claude-plugin/plugin.json",
            {"name": "p", "version": "1.0.0", "author": {"name": "Ann"}, "dependencies": ["q"]},
        ),
        (
            ".claude-plugin/marketplace.json",
            {"name": "m", "owner": {"name": "Ann"}, "plugins": [{"name": "p", "source": "./p"}]},
        ),
        ("callboard/services/web.schema.json", {"properties": {"port": {"type": "integer"}}}),
        ("callboard/services/web.json", {"port": 80}),
    ):
        yield path, json.dumps(value, indent=2)
    yield "CLAUDE.md", f"# Rules\n\n{SENTENCE * 10}\n"
    yield "callboard/policy.yaml", "severities: {unrestricted-bash: error}\n"
    yield "callboard/pipelines/p.yaml", "name: p\nstages:\n  - {name: a, type: filter}\n"


def files_of(count: int) -> list[tuple[str, str]]:
    """So many files: copies of the made-up ones, each set in a folder of its own."""
    forms = list(synthetic())
    return [
        (f"copy{number // len(forms)}/{path}", text)
        for number, (path, text) in enumerate(islice(cycle(forms), count))
    ]


def config_check(files: int, bytes_read: int) -> str:
    """The check of a run: what was read."""
    return check_of({"files": float(files), "bytes": float(bytes_read)})


def expected_config(params: Params) -> str:
    """The check that a run must reach."""
    files = files_of(params["files"])
    return config_check(len(files), sum(len(text.encode()) for _, text in files))
