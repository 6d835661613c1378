"""What the formats of the Claude ecosystem allow, as data, as documented on 2026-08-22.

The formats change from week to week: what is not here is a warning, never an error.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from .shapes import words

__all__ = [
    "AGENT_FIELDS",
    "COLOURS",
    "COMMAND_FIELDS",
    "IGNORED_IN_PLUGINS",
    "IS_MODEL",
    "KEBAB",
    "MODELS",
    "NEVER_IN_AGENTS",
    "OF_DATE",
    "PORTABLE_FIELDS",
    "RETIRED_TOOLS",
    "SKILL_FIELDS",
    "TOOLS",
    "TRUTHS",
    "Field",
]

OF_DATE: Final = "2026-08-22"


class Field(NamedTuple):
    """One field of a front matter."""

    kind: str
    """`text`, `truth`, `count`, `texts` (a list, or one text), `any`, `map`, `tools`, `choice`."""
    choices: frozenset[str] = frozenset()


TRUTHS: Final[Mapping[str, bool]] = {
    "true": True, "yes": True, "on": True, "1": True,
    "false": False, "no": False, "off": False, "0": False,
}  # fmt: skip
KEBAB: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
COLOURS: Final = frozenset(words("red blue green yellow purple orange pink cyan"))
MODELS: Final = frozenset(words("sonnet opus haiku fable inherit default best opusplan"))
IS_MODEL: Final = re.compile(
    r"(?:claude-[a-z0-9.@-]+|(?:[a-z]{2,6}\.)?anthropic\.claude-[a-z0-9.:-]+|arn:aws[a-z-]*:bedrock"
    r"[A-Za-z0-9:/._-]+|sonnet|opus|haiku|fable)(?:\[1m\])?"
)
EFFORTS: Final = frozenset(words("low medium high xhigh max"))
MODES: Final = frozenset(
    words("default manual acceptEdits auto dontAsk bypassPermissions plan delegate")
)
TEXT: Final = Field("text")
TRUTH: Final = Field("truth")
EFFORT: Final = Field("choice", EFFORTS)

AGENT_FIELDS: Final[Mapping[str, Field]] = {
    "name": TEXT,
    "description": TEXT,
    "tools": Field("tools"),
    "disallowedTools": Field("tools"),
    "model": TEXT,
    "permissionMode": Field("choice", MODES),
    "maxTurns": Field("count"),
    "effort": EFFORT,
    "isolation": Field("choice", frozenset({"worktree"})),
    "memory": Field("choice", frozenset({"user", "project", "local"})),
    "background": TRUTH,
    "color": TEXT,
    "skills": Field("texts"),
    "mcpServers": Field("any"),
    "hooks": Field("map"),
    "initialPrompt": TEXT,
}
SKILL_FIELDS: Final[Mapping[str, Field]] = {
    "name": TEXT,
    "description": TEXT,
    "when_to_use": TEXT,
    "argument-hint": TEXT,
    "arguments": Field("texts"),
    "disable-model-invocation": TRUTH,
    "user-invocable": TRUTH,
    "allowed-tools": Field("tools"),
    "disallowed-tools": Field("tools"),
    "model": TEXT,
    "effort": EFFORT,
    "context": Field("choice", frozenset({"fork"})),
    "agent": TEXT,
    "background": TRUTH,
    "hooks": Field("map"),
    "paths": Field("texts"),
    "shell": Field("choice", frozenset({"bash", "powershell"})),
    "metadata": Field("map"),
    "license": TEXT,
    "compatibility": TEXT,
}
COMMAND_FIELDS: Final = SKILL_FIELDS
PORTABLE_FIELDS: Final = frozenset(
    words("name description license compatibility metadata allowed-tools")
)
IGNORED_IN_PLUGINS: Final = frozenset({"hooks", "mcpServers", "permissionMode"})

TOOLS: Final = frozenset(
    words("""
    Agent Artifact AskUserQuestion Bash Cd CronCreate CronDelete CronList Edit EndConversation
    EnterPlanMode EnterWorktree ExitPlanMode ExitWorktree Glob Grep LSP ListMcpResourcesTool Monitor
    NotebookEdit PowerShell PushNotification Read ReadMcpResourceTool RemoteTrigger ReportFindings
    ScheduleWakeup SendMessage SendUserFile ShareOnboardingGuide Skill TaskCreate TaskGet TaskList
    TaskOutput TaskStop TaskUpdate TodoWrite ToolSearch WaitForMcpServers WebFetch WebSearch
    Workflow Write
    """)
)
RETIRED_TOOLS: Final[Mapping[str, str]] = {
    "AgentOutputTool": "TaskOutput",
    "BashOutput": "TaskOutput",
    "KillBash": "TaskStop",
    "KillShell": "TaskStop",
    "LS": "Glob, or ls in Bash",
    "MultiEdit": "Edit",
    "NotebookRead": "Read",
    "SlashCommand": "Skill",
    "Task": "Agent",
    "TeamCreate": "Agent",
    "TeamDelete": "TaskStop",
}
"""Tools that are gone, and what to use."""
NEVER_IN_AGENTS: Final = frozenset(
    words("""
    AskUserQuestion EndConversation EnterPlanMode ScheduleWakeup TaskOutput WaitForMcpServers
    Workflow
    """)
)
