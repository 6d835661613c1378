"""Hooks, plugins, marketplaces and MCP servers as tables; names and types as of 2026-08-22."""

from typing import Any, Final

from .shapes import (
    ANY,
    COUNT,
    NUMBER,
    SOME,
    TEXT,
    TEXTS,
    TRUTH,
    closed,
    either,
    like,
    listed,
    mapped,
    one_of,
    opened,
    tagged,
    whole,
    words,
)

__all__ = [
    "BLOCKING_EVENTS",
    "EVENTS",
    "HOOK_GROUP",
    "LOOSE_GROUP",
    "MARKETPLACE",
    "PLUGIN",
    "PLUGIN_NAMES",
    "RESERVED_SERVERS",
    "SERVER",
    "SERVER_NAMES",
]

EVENTS: Final = tuple(
    words("""
    ConfigChange CwdChanged DirectoryAdded Elicitation ElicitationResult FileChanged
    InstructionsLoaded MessageDisplay Notification PermissionDenied PermissionRequest
    PostCompact PostToolBatch PostToolUse PostToolUseFailure PreCompact PreToolUse
    SessionEnd SessionStart Setup Stop StopFailure SubagentStart SubagentStop TaskCompleted
    TaskCreated TeammateIdle UserPromptExpansion UserPromptSubmit WorktreeCreate
    WorktreeRemove
    """)
)
BLOCKING_EVENTS: Final = frozenset(
    words("ConfigChange PermissionRequest PreToolUse UserPromptExpansion UserPromptSubmit")
)
"""Events whose hooks can forbid what follows: without a hook, more is permitted."""

HANDLER: Final = {"if": TEXT, "statusMessage": TEXT, "timeout": COUNT, "once": TRUTH}
PROMPT: Final = {**HANDLER, "prompt": SOME, "model": TEXT}
HOOK: Final = tagged(
    "type",
    {
        "command": closed(
            {
                **HANDLER,
                "command": SOME,
                "args": TEXTS,
                "async": TRUTH,
                "asyncRewake": TRUTH,
                "shell": one_of("bash powershell"),
            },
            "command",
        ),
        "prompt": closed({**PROMPT, "continueOnBlock": TRUTH}, "prompt"),
        "agent": closed(PROMPT, "prompt"),
        "http": closed(
            {**HANDLER, "url": SOME, "headers": mapped(TEXT), "allowedEnvVars": listed(SOME)}, "url"
        ),
        "mcp_tool": closed(
            {**HANDLER, "server": SOME, "tool": SOME, "input": opened({})}, "server", "tool"
        ),
    },
)
HOOK_GROUP: Final = closed({"matcher": TEXT, "hooks": listed(HOOK)}, "hooks")
LOOSE_HOOK: Final = {
    **HOOK,
    "allOf": [
        {**case, "then": {**case["then"], "additionalProperties": True}} for case in HOOK["allOf"]
    ],
}
LOOSE_GROUP: Final = opened({"matcher": TEXT, "hooks": listed(LOOSE_HOOK)}, "hooks")
"""Of plugins: other keys are allowed there."""
OAUTH: Final = opened(
    {
        "clientId": TEXT,
        "callbackPort": whole(1),
        "authServerMetadataUrl": like("^https://"),
        "scopes": SOME,
        "xaa": TRUTH,
    }
)
SERVER_COMMON: Final = {"timeout": NUMBER, "alwaysLoad": TRUTH}
REMOTE: Final = {
    "url": TEXT,
    "headers": mapped(TEXT),
    "headersHelper": TEXT,
    "oauth": OAUTH,
    **SERVER_COMMON,
}
STDIO: Final = {"command": SOME, "args": TEXTS, "env": mapped(TEXT), **SERVER_COMMON}
SERVER: Final[dict[str, Any]] = tagged(
    "type",
    {
        "stdio": opened(STDIO, "command"),
        **dict.fromkeys(("http", "streamable-http", "sse", "ws"), opened(REMOTE, "url")),
    },
)
"""A server with its type; one without is a `stdio` server."""
SERVER_NAMES: Final = frozenset({"type", *STDIO, *REMOTE})
RESERVED_SERVERS: Final = frozenset(
    {"workspace", "claude-in-chrome", "computer-use", "Claude Preview", "Claude Browser"}
)

RELATIVE: Final = like(r"^\./")
JSON_FILE: Final = like(r"^\./.*\.json$")
MARKDOWN_FILE: Final = like(r"^\./.*\.md$")
PATHS: Final = either(RELATIVE, listed(RELATIVE))
FILES: Final = either(MARKDOWN_FILE, listed(MARKDOWN_FILE))
NAME: Final = "[A-Za-z0-9][-A-Za-z0-9._]*"
USER_CONFIG: Final = mapped(
    closed(
        {
            "type": one_of("string number boolean directory file"),
            "title": TEXT,
            "description": TEXT,
            "required": TRUTH,
            "multiple": TRUTH,
            "sensitive": TRUTH,
            "default": ANY,
            "min": NUMBER,
            "max": NUMBER,
        },
        "type",
        "title",
        "description",
    ),
    r"^[A-Za-z_]\w*$",
)
PLUGIN_COMMAND: Final = opened(
    {
        "source": RELATIVE,
        "content": TEXT,
        "description": TEXT,
        "argumentHint": TEXT,
        "model": TEXT,
        "allowedTools": TEXTS,
    }
)
LANGUAGE_SERVER: Final = closed(
    {
        "command": SOME,
        "args": listed(SOME),
        "extensionToLanguage": mapped(SOME, "^.."),
        "transport": one_of("stdio socket"),
        "env": mapped(TEXT),
        "initializationOptions": ANY,
        "settings": ANY,
        "workspaceFolder": TEXT,
        "startupTimeout": whole(1),
        "shutdownTimeout": whole(1),
        "restartOnCrash": TRUTH,
        "maxRestarts": whole(0),
    },
    "command",
    "extensionToLanguage",
)
LANGUAGE_SERVERS: Final = either(JSON_FILE, mapped(LANGUAGE_SERVER))
HOOK_MAP: Final = mapped(listed(LOOSE_GROUP)) | {"propertyNames": {"enum": list(EVENTS)}}
HOOK_SOURCE: Final = either(JSON_FILE, HOOK_MAP)
LOOSE_SERVER: Final = {
    "if": {"required": ["type"]},
    "then": SERVER,
    "else": opened(STDIO, "command"),
}
SERVER_SOURCE: Final = either(like(r"^(\./|[A-Za-z][A-Za-z0-9+.-]*:)"), mapped(LOOSE_SERVER))
MONITOR: Final = closed(
    {
        "name": SOME,
        "command": SOME,
        "description": SOME,
        "when": like("^(always$|on-skill-invoke:)"),
    },
    "name",
    "command",
    "description",
)
PERSON: Final = opened({"name": SOME, "email": TEXT, "url": TEXT}, "name")
MANIFEST: Final = {
    **dict.fromkeys(words("$schema version description displayName repository license"), TEXT),
    "name": SOME,
    "author": PERSON,
    "homepage": like("^[A-Za-z][A-Za-z0-9+.-]*:"),
    "keywords": TEXTS,
    "dependencies": listed(
        either(
            like(rf"^{NAME}(@{NAME})?(@\^[^@]*)?$"),
            opened({"name": like(f"^{NAME}$"), "marketplace": like(f"^{NAME}$")}, "name"),
        )
    ),
    "hooks": either(HOOK_SOURCE, listed(HOOK_SOURCE)),
    "commands": either(RELATIVE, listed(RELATIVE), mapped(PLUGIN_COMMAND)),
    "agents": FILES,
    "skills": PATHS,
    "workflows": PATHS,
    "outputStyles": PATHS,
    "themes": PATHS,
    "channels": listed(
        closed({"server": SOME, "displayName": TEXT, "userConfig": USER_CONFIG}, "server")
    ),
    "mcpServers": either(SERVER_SOURCE, listed(SERVER_SOURCE)),
    "lspServers": either(LANGUAGE_SERVERS, listed(LANGUAGE_SERVERS)),
    "monitors": either(JSON_FILE, listed(MONITOR)),
    "settings": opened({}),
    "defaultEnabled": TRUTH,
    "userConfig": USER_CONFIG,
    "metadata": ANY,
    "experimental": ANY,
}
PLUGIN: Final[dict[str, Any]] = opened(MANIFEST, "name")
PLUGIN_NAMES: Final = frozenset(MANIFEST)
SHA: Final = like("^[a-f0-9]{40}$")
PINNED: Final = {"ref": TEXT, "sha": SHA}
PLUGIN_SOURCE: Final = tagged(
    "source",
    {
        "npm": opened(
            {"package": TEXT, "version": TEXT, "registry": like("^[A-Za-z][A-Za-z0-9+.-]*:")},
            "package",
        ),
        "url": opened({"url": TEXT, **PINNED}, "url"),
        "github": opened({"repo": TEXT, **PINNED}, "repo"),
        "git-subdir": opened({"url": TEXT, "path": SOME, **PINNED}, "url", "path"),
        "archive": opened({"url": TEXT, "sha256": like("^[a-f0-9]{64}$")}),
        "command": opened({}),
    },
)
MARKETPLACE: Final[dict[str, Any]] = opened(
    {
        **dict.fromkeys(words("$schema version description"), TEXT),
        "name": SOME,
        "owner": PERSON,
        "forceRemoveDeletedPlugins": TRUTH,
        "metadata": opened(dict.fromkeys(words("pluginRoot version description"), TEXT)),
        "allowCrossMarketplaceDependenciesOn": TEXTS,
        "plugins": listed(
            opened(
                {
                    **MANIFEST,
                    "source": {
                        "if": {"type": "string"},
                        "then": RELATIVE,
                        "else": PLUGIN_SOURCE,
                    },
                    "category": TEXT,
                    "tags": TEXTS,
                    "strict": TRUTH,
                },
                "name",
                "source",
            )
        ),
    },
    "name",
    "owner",
    "plugins",
)
