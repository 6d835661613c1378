"""Made-up files of all formats, and mutations of them."""

import json
import random
from collections.abc import Iterator

__all__ = ["mutated", "synthetic"]

SENTENCE = "Reads the change, names what is wrong with its place, and proposes the smallest mend. "
PIECES = (
    b"---\n", b": ", b"*x", b"&x ", b"[", b"]", b"{", b"}", b'"', b"'", b"\\", b"\x00", b"\xff",
    b"\n", b"\t", b"!!python/name:os.system ", b"!!binary x", b"$1", b"!`ls`", b"null", b"1e999",
    b"\xe2\x80\xae", b"true", b"-", b"|\n", b"<<: ", b"? ", b"name: ", b"hooks", b"permissions",
    b"(((((((((", b"Bash(", b"2020-13-45", b"0x", b".inf", b"99999999999999999999", b"\xed\xa0\x80",
)  # fmt: skip


def synthetic(agents: int = 12) -> Iterator[tuple[str, str]]:
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


def mutated(data: bytes, choose: random.Random) -> bytes:
    """The bytes with one to six changes."""
    changed = bytearray(data)
    for _ in range(choose.randint(1, 6)):
        # The fields stand at the beginning, so that is where most changes go.
        end = len(changed) if choose.random() < 0.3 else min(len(changed), 400)
        at = choose.randint(0, end)
        match choose.randrange(5):
            case 0:
                changed[at : at + choose.randint(1, 20)] = b""
            case 1:
                changed[at:at] = choose.choice(PIECES) * choose.choice((1, 1, 1, 40))
            case 2 if changed:
                changed[min(at, len(changed) - 1)] = choose.randrange(256)
            case 3:
                piece = bytes(changed[at : at + choose.randint(1, 60)])
                changed[at:at] = piece * choose.choice((1, 2, 30))
            case _:
                del changed[at:]
    return bytes(changed)
