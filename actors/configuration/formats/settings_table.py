"""The settings of the Claude ecosystem as a table: each key and what it may hold.

Names and types as published on 2026-08-22; unknown keys are allowed, and reported elsewhere.
"""

from collections.abc import Mapping
from typing import Any, Final

from .plugin_tables import EVENTS, HOOK_GROUP
from .shapes import (
    NUMBER,
    SOME,
    SOMES,
    TEXT,
    TEXTS,
    TRUTH,
    Shape,
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

__all__ = ["DEFAULT_MODES", "SETTINGS", "SETTING_NAMES"]

TRUTHS: Final = """
    agentPushNotifEnabled allowAllClaudeAiMcps allowManagedHooksOnly
    allowManagedMcpServersOnly allowManagedPermissionRulesOnly alwaysThinkingEnabled
    autoCompactEnabled autoConnectIde autoInstallIdeExtension autoMemoryEnabled
    autoScrollEnabled awaySummaryEnabled axScreenReader channelsEnabled disableAgentView
    disableAllHooks disableArtifact disableBrowserExternalNavigation disableBundledSkills
    disableClaudeAiConnectors disableMobileSimulatorTools disableRemoteControl
    disableSideloadFlags disableSkillShellExecution disableWorkflows emojiCompletionEnabled
    enableAllProjectMcpServers enableArtifact enforceAvailableModels externalEditorContext
    fastMode fastModePerSessionOptIn fileCheckpointingEnabled forceRemoteSettingsRefresh
    includeCoAuthoredBy includeGitInstructions inputNeededNotifEnabled
    permissionExplainerEnabled prefersReducedMotion remoteControlAtStartup
    requireCoworkFullVmSandbox respectGitignore respondToBashCommands
    showClearContextOnPlanAccept showThinkingSummaries showTurnDuration
    skipDangerousModePermissionPrompt skipWebFetchPreflight spinnerTipsEnabled
    syntaxHighlightingDisabled terminalProgressBarEnabled useAutoModeDuringPlan verbose
    voiceEnabled wheelScrollAccelerationEnabled workflowKeywordTriggerEnabled
    wslInheritsWindowsSettings
"""
TEXT_NAMES: Final = """
    $schema advisorModel claudeMd forceLoginGatewayUrl language model plansDirectory
    prUrlTemplate processWrapper requiredMaximumVersion requiredMinimumVersion
"""
SOME_NAMES: Final = """
    agent apiKeyHelper autoMemoryDirectory awsAuthRefresh awsCredentialExport gcpAuthRefresh
    minimumVersion otelHeadersHelper outputStyle pluginTrustMessage
"""
TEXTS_NAMES: Final = """
    availableModels pluginSuggestionMarketplaces sshHostAllowlist
"""
SOMES_NAMES: Final = """
    allowedHttpHookUrls claudeMdExcludes companyAnnouncements disabledMcpjsonServers
    enabledMcpjsonServers httpHookAllowedEnvVars skippedMarketplaces skippedPlugins
"""
SWITCHES: Final = """
    CCR_FORCE_BUNDLE CLAUDECODE CLAUDE_AGENT_SDK_DISABLE_BUILTIN_AGENTS
    CLAUDE_AGENT_SDK_MCP_NO_PREFIX CLAUDE_AUTO_BACKGROUND_TASKS CLAUDE_AX_SCREEN_READER
    CLAUDE_BASH_MAINTAIN_PROJECT_WORKING_DIR CLAUDE_CODE_ACCESSIBILITY
    CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD CLAUDE_CODE_ALT_SCREEN_FULL_REPAINT
    CLAUDE_CODE_ALWAYS_ENABLE_EFFORT CLAUDE_CODE_ARTIFACT_AUTO_OPEN
    CLAUDE_CODE_ATTRIBUTION_HEADER CLAUDE_CODE_CHILD_SESSION CLAUDE_CODE_DISABLE_1M_CONTEXT
    CLAUDE_CODE_DISABLE_ADAPTIVE_THINKING CLAUDE_CODE_DISABLE_ADVISOR_TOOL
    CLAUDE_CODE_DISABLE_AGENT_VIEW CLAUDE_CODE_DISABLE_ALTERNATE_SCREEN
    CLAUDE_CODE_DISABLE_ARTIFACT CLAUDE_CODE_DISABLE_ATTACHMENTS
    CLAUDE_CODE_DISABLE_AUTO_MEMORY CLAUDE_CODE_DISABLE_BACKGROUND_TASKS
    CLAUDE_CODE_DISABLE_BEDROCK_CONTENT_TYPE_GUARD CLAUDE_CODE_DISABLE_BG_EXIT_HANDOFF
    CLAUDE_CODE_DISABLE_BG_SHELL_PRESSURE_REAP CLAUDE_CODE_DISABLE_BUNDLED_SKILLS
    CLAUDE_CODE_DISABLE_CLAUDE_MDS CLAUDE_CODE_DISABLE_CRON
    CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS CLAUDE_CODE_DISABLE_EXPLORE_PLAN_AGENTS
    CLAUDE_CODE_DISABLE_FAST_MODE CLAUDE_CODE_DISABLE_FEEDBACK_SURVEY
    CLAUDE_CODE_DISABLE_FILE_CHECKPOINTING CLAUDE_CODE_DISABLE_GIT_INSTRUCTIONS
    CLAUDE_CODE_DISABLE_LEGACY_MODEL_REMAP CLAUDE_CODE_DISABLE_MOUSE
    CLAUDE_CODE_DISABLE_MOUSE_CLICKS CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC
    CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK
    CLAUDE_CODE_DISABLE_NOTIFICATION_PRESENCE_CHECK
    CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL CLAUDE_CODE_DISABLE_POLICY_SKILLS
    CLAUDE_CODE_DISABLE_TERMINAL_TITLE CLAUDE_CODE_DISABLE_THINKING
    CLAUDE_CODE_DISABLE_VIRTUAL_SCROLL CLAUDE_CODE_DISABLE_WORKFLOWS
    CLAUDE_CODE_ENABLE_APPEND_SUBAGENT_PROMPT CLAUDE_CODE_ENABLE_AUTO_MODE
    CLAUDE_CODE_ENABLE_AWAY_SUMMARY CLAUDE_CODE_ENABLE_BACKGROUND_PLUGIN_REFRESH
    CLAUDE_CODE_ENABLE_FEEDBACK_SURVEY_FOR_OTEL
    CLAUDE_CODE_ENABLE_FINE_GRAINED_TOOL_STREAMING
    CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY CLAUDE_CODE_ENABLE_TASKS
    CLAUDE_CODE_ENABLE_TELEMETRY CLAUDE_CODE_ENHANCED_TELEMETRY_BETA
    CLAUDE_CODE_EXPERIMENTAL_AGENT_TEAMS CLAUDE_CODE_FORCE_SESSION_PERSISTENCE
    CLAUDE_CODE_FORCE_STRIKETHROUGH CLAUDE_CODE_FORCE_SYNC_OUTPUT CLAUDE_CODE_FORK_SUBAGENT
    CLAUDE_CODE_FORWARD_SUBAGENT_TEXT CLAUDE_CODE_HIDE_CWD CLAUDE_CODE_IDE_SKIP_AUTO_INSTALL
    CLAUDE_CODE_IDE_SKIP_VALID_CHECK CLAUDE_CODE_MCP_ALLOWLIST_ENV CLAUDE_CODE_NATIVE_CURSOR
    CLAUDE_CODE_NEW_INIT CLAUDE_CODE_NO_FLICKER CLAUDE_CODE_OTEL_DIAG_STDERR
    CLAUDE_CODE_PACKAGE_MANAGER_AUTO_UPDATE CLAUDE_CODE_PERFORCE_MODE
    CLAUDE_CODE_PLUGIN_KEEP_MARKETPLACE_ON_FAILURE CLAUDE_CODE_PLUGIN_PREFER_HTTPS
    CLAUDE_CODE_POWERSHELL_RESPECT_EXECUTION_POLICY CLAUDE_CODE_PROPAGATE_TRACEPARENT
    CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST CLAUDE_CODE_PROXY_RESOLVES_HOSTS
    CLAUDE_CODE_RESUME_INTERRUPTED_TURN CLAUDE_CODE_RETRY_WATCHDOG CLAUDE_CODE_SAFE_MODE
    CLAUDE_CODE_SIMPLE CLAUDE_CODE_SIMPLE_SYSTEM_PROMPT CLAUDE_CODE_SKIP_ANTHROPIC_AWS_AUTH
    CLAUDE_CODE_SKIP_AWS_CRED_CACHE CLAUDE_CODE_SKIP_BEDROCK_AUTH
    CLAUDE_CODE_SKIP_FAST_MODE_NETWORK_ERRORS CLAUDE_CODE_SKIP_FAST_MODE_ORG_CHECK
    CLAUDE_CODE_SKIP_FOUNDRY_AUTH CLAUDE_CODE_SKIP_MANTLE_AUTH
    CLAUDE_CODE_SKIP_PROMPT_HISTORY CLAUDE_CODE_SKIP_VERTEX_AUTH
    CLAUDE_CODE_SUBPROCESS_ENV_SCRUB CLAUDE_CODE_SYNC_PLUGIN_INSTALL CLAUDE_CODE_SYNC_SKILLS
    CLAUDE_CODE_TMUX_TRUECOLOR CLAUDE_CODE_USE_ANTHROPIC_AWS CLAUDE_CODE_USE_BEDROCK
    CLAUDE_CODE_USE_FOUNDRY CLAUDE_CODE_USE_MANTLE CLAUDE_CODE_USE_NATIVE_FILE_SEARCH
    CLAUDE_CODE_USE_POWERSHELL_TOOL CLAUDE_CODE_USE_VERTEX CLAUDE_DISABLE_ADOPT
    CLAUDE_ENABLE_BYTE_WATCHDOG CLAUDE_ENABLE_BYTE_WATCHDOG_BEDROCK
    CLAUDE_ENABLE_STREAM_WATCHDOG DISABLE_AUTOUPDATER DISABLE_AUTO_COMPACT DISABLE_COMPACT
    DISABLE_COST_WARNINGS DISABLE_DOCTOR_COMMAND DISABLE_ERROR_REPORTING
    DISABLE_EXTRA_USAGE_COMMAND DISABLE_FEEDBACK_COMMAND DISABLE_GROWTHBOOK
    DISABLE_INSTALLATION_CHECKS DISABLE_INSTALL_GITHUB_APP_COMMAND
    DISABLE_INTERLEAVED_THINKING DISABLE_LOGIN_COMMAND DISABLE_LOGOUT_COMMAND
    DISABLE_PROMPT_CACHING DISABLE_PROMPT_CACHING_FABLE DISABLE_PROMPT_CACHING_HAIKU
    DISABLE_PROMPT_CACHING_OPUS DISABLE_PROMPT_CACHING_SONNET DISABLE_TELEMETRY
    DISABLE_UPDATES DISABLE_UPGRADE_COMMAND DO_NOT_TRACK ENABLE_BETA_TRACING_DETAILED
    ENABLE_PROMPT_CACHING_1H FORCE_AUTOUPDATE_PLUGINS FORCE_HYPERLINK
    FORCE_PROMPT_CACHING_5M IS_DEMO MCP_CONNECTION_NONBLOCKING OTEL_LOG_ASSISTANT_RESPONSES
    OTEL_LOG_TOOL_CONTENT OTEL_LOG_TOOL_DETAILS OTEL_LOG_USER_PROMPTS USE_BUILTIN_RIPGREP
"""
"""Variables that are 0 or 1."""
TRUTH_VARIABLES: Final = """
    CLAUDE_CODE_AUTO_CONNECT_IDE CLAUDE_CODE_ENABLE_PROMPT_SUGGESTION
    CLAUDE_CODE_GLOB_HIDDEN CLAUDE_CODE_GLOB_NO_IGNORE CLAUDE_CODE_REMOTE
    CLAUDE_CODE_SYNTAX_HIGHLIGHT ENABLE_CLAUDEAI_MCP_SERVERS
    OTEL_METRICS_INCLUDE_ACCOUNT_UUID OTEL_METRICS_INCLUDE_ENTRYPOINT
    OTEL_METRICS_INCLUDE_RESOURCE_ATTRIBUTES OTEL_METRICS_INCLUDE_SESSION_ID
    OTEL_METRICS_INCLUDE_VERSION
"""
PROTOCOL: Final = one_of("grpc http/json http/protobuf")
VARIABLES: Final[Mapping[str, Shape]] = {
    **dict.fromkeys(SWITCHES.split(), one_of("0 1")),
    **dict.fromkeys(TRUTH_VARIABLES.split(), one_of("true false")),
    "ANTHROPIC_BEDROCK_SERVICE_TIER": one_of("default flex priority"),
    "CLAUDE_CODE_DEBUG_LOG_LEVEL": one_of("verbose debug info warn error"),
    "CLAUDE_CODE_EFFORT_LEVEL": one_of("low medium high xhigh max auto"),
    "CLAUDE_EFFORT": one_of("low medium high xhigh max"),
    "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": PROTOCOL,
    "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": PROTOCOL,
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": one_of("delta cumulative"),
    "OTEL_EXPORTER_OTLP_PROTOCOL": PROTOCOL,
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": PROTOCOL,
}
DEFAULT_MODES: Final = "acceptEdits bypassPermissions default delegate dontAsk plan auto manual"
RULES: Final = listed(TEXT, uniqueItems=True)
"""The grammar of rules is checked apart: one bad rule must not hide the others."""
PERMISSIONS: Final = closed(
    {
        "allow": RULES,
        "deny": RULES,
        "ask": RULES,
        "defaultMode": one_of(DEFAULT_MODES),
        "disableBypassPermissionsMode": one_of("disable"),
        "disableAutoMode": one_of("disable"),
        "additionalDirectories": listed(SOME, uniqueItems=True),
    }
)
SERVER_NAMES: Final = listed(
    either(
        closed({"serverName": like("^[a-zA-Z0-9_-]+$")}, "serverName"),
        closed({"serverCommand": TEXTS}, "serverCommand"),
        closed({"serverUrl": TEXT}, "serverUrl"),
    )
)
URI: Final = like("^[A-Za-z][A-Za-z0-9+.-]*:")
GITHUB: Final = {"repo": TEXT, "ref": TEXT, "path": TEXT}
GIT: Final = {"url": like("\\.git$"), "ref": TEXT, "path": TEXT}
PACKAGE: Final = closed({"package": TEXT}, "package")
PATH: Final = closed({"path": TEXT}, "path")
HOSTS: Final = closed({"hostPattern": TEXT}, "hostPattern")
PATHS: Final = closed({"pathPattern": TEXT}, "pathPattern")
URL: Final = closed({"url": URI, "headers": mapped(TEXT)}, "url")
PINNED: Final = {"ref": TEXT, "sha": TEXT}
INLINE_PLUGIN: Final = closed(
    {
        "name": TEXT,
        "source": tagged(
            "source",
            {
                "github": closed({"repo": TEXT, **PINNED}, "repo"),
                "url": closed({"url": TEXT, **PINNED}, "url"),
                "git-subdir": closed({"url": TEXT, "path": TEXT, **PINNED}, "url", "path"),
                "npm": closed({"package": TEXT, "version": TEXT, "registry": TEXT}, "package"),
            },
        ),
    },
    "name",
    "source",
)
KNOWN_MARKETPLACE: Final = tagged(
    "source",
    {
        "url": closed({"url": URI}, "url"),
        "hostPattern": HOSTS,
        "github": closed({**GITHUB, "skipLfs": TRUTH}, "repo"),
        "git": closed({**GIT, "skipLfs": TRUTH}, "url"),
        "npm": PACKAGE,
        "file": PATH,
        "directory": PATH,
        "settings": closed({"name": TEXT, "plugins": listed(INLINE_PLUGIN)}, "name", "plugins"),
    },
)


def _marketplaces(git: Shape) -> Shape:
    return listed(
        tagged(
            "source",
            {
                "hostPattern": HOSTS,
                "github": closed(GITHUB, "repo"),
                "git": closed({"url": git, "ref": TEXT, "path": TEXT}, "url"),
                "url": URL,
                "npm": PACKAGE,
                "file": PATH,
                "directory": PATH,
                "pathPattern": PATHS,
            },
        )
    )


SANDBOX: Final = closed(
    {
        **dict.fromkeys(
            words(
                "autoAllowBashIfSandboxed enableWeakerNetworkIsolation enableWeakerNestedSandbox "
                "allowUnsandboxedCommands enabled failIfUnavailable allowAppleEvents"
            ),
            TRUTH,
        ),
        "network": closed(
            {
                **dict.fromkeys(
                    words(
                        "allowLocalBinding allowAllUnixSockets allowManagedDomainsOnly "
                        "strictAllowlist"
                    ),
                    TRUTH,
                ),
                **dict.fromkeys(words("allowedDomains deniedDomains allowMachLookup"), SOMES),
                **dict.fromkeys(words("httpProxyPort socksProxyPort"), whole(1, 65_535)),
                "allowUnixSockets": TEXTS,
                "tlsTerminate": closed({"caCertPath": TEXT, "caKeyPath": TEXT}),
            }
        ),
        "filesystem": closed(
            {
                **dict.fromkeys(words("allowWrite denyWrite denyRead allowRead"), SOMES),
                "allowManagedReadPathsOnly": TRUTH,
                "disabled": TRUTH,
            }
        ),
        "ignoreViolations": mapped(TEXTS),
        "excludedCommands": TEXTS,
        "ripgrep": closed({"command": SOME, "args": TEXTS}, "command"),
        "bwrapPath": SOME,
        "socatPath": SOME,
        "enabledPlatforms": listed(one_of("macos linux wsl windows")),
        "credentials": closed(
            {
                "files": listed(closed({"path": TEXT, "mode": one_of("deny")}, "path", "mode")),
                "envVars": listed(closed({"name": TEXT, "mode": one_of("deny")}, "name", "mode")),
                "allowPlaintextInject": TRUTH,
            }
        ),
    }
)
COMMAND: Final = {"type": one_of("command"), "command": TEXT}
SCALAR: Final = either(TEXT, NUMBER, TRUTH, TEXTS)
SETTINGS: Final[dict[str, Any]] = opened(
    {
        **dict.fromkeys(TRUTHS.split(), TRUTH),
        **dict.fromkeys(TEXT_NAMES.split(), TEXT),
        **dict.fromkeys(SOME_NAMES.split(), SOME),
        **dict.fromkeys(TEXTS_NAMES.split(), TEXTS),
        **dict.fromkeys(SOMES_NAMES.split(), SOMES),
        "askUserQuestionTimeout": one_of("60s 5m 10m never"),
        "autoUpdatesChannel": one_of("stable latest"),
        "browserExternalPageTools": one_of("disabled"),
        "defaultShell": one_of("bash powershell"),
        "diffTool": one_of("auto terminal"),
        "disableAutoMode": one_of("disable"),
        "disableDeepLinkRegistration": one_of("disable"),
        "editorMode": one_of("normal vim"),
        "effortLevel": one_of("low medium high xhigh"),
        "forceLoginMethod": one_of("claudeai console gateway"),
        "parentSettingsBehavior": one_of("first-wins merge"),
        "preferredNotifChannel": one_of(
            "auto terminal_bell iterm2 iterm2_with_bell kitty ghostty notifications_disabled"
        ),
        "teammateMode": one_of("auto in-process tmux iterm2"),
        "tui": one_of("fullscreen default"),
        "viewMode": one_of("default verbose focus"),
        "workflowSizeGuideline": one_of("unrestricted small medium large"),
        "allowedChannelPlugins": listed(
            closed({"marketplace": TEXT, "plugin": TEXT}, "marketplace", "plugin")
        ),
        "allowedMcpServers": SERVER_NAMES,
        "attribution": closed({"commit": TEXT, "pr": TEXT, "sessionUrl": TRUTH}),
        "autoMode": closed(
            {
                **dict.fromkeys(words("allow soft_deny environment hard_deny"), TEXTS),
                "classifyAllShell": TRUTH,
            }
        ),
        "blockedMarketplaces": _marketplaces(like("\\.git$")),
        "cleanupPeriodDays": whole(1),
        "deniedMcpServers": SERVER_NAMES,
        "enabledPlugins": mapped(either(TEXTS, TRUTH)),
        "env": opened(VARIABLES)
        | {"propertyNames": {"pattern": "^[A-Z_][A-Z0-9_]*$"}, "additionalProperties": TEXT},
        "extraKnownMarketplaces": mapped(
            closed(
                {
                    "source": KNOWN_MARKETPLACE,
                    "installLocation": TEXT,
                    "autoUpdate": TRUTH,
                    "lastUpdated": TEXT,
                },
                "source",
            )
        ),
        "fallbackModel": listed(TEXT, maxItems=3),
        "feedbackSurveyRate": {"type": "number", "minimum": 0, "maximum": 1},
        "fileSuggestion": closed(COMMAND, "type", "command"),
        "footerLinksRegexes": listed(
            closed(
                {"type": one_of("regex"), "pattern": TEXT, "url": TEXT, "label": TEXT},
                "pattern",
                "url",
            )
        ),
        "forceLoginOrgUUID": either(SOME, SOMES),
        "hooks": closed(dict.fromkeys(EVENTS, listed(HOOK_GROUP))),
        "managedMcpServers": listed(opened({})),
        "modelOverrides": mapped(TEXT),
        "permissions": PERMISSIONS,
        "pluginConfigs": mapped(
            closed({"mcpServers": mapped(mapped(SCALAR)), "options": mapped(SCALAR)})
        ),
        "policyHelper": closed(
            {
                "path": TEXT,
                "timeoutMs": whole(),
                "refreshIntervalMs": either({"type": "integer", "const": 0}, whole(60_000)),
            },
            "path",
        ),
        "sandbox": SANDBOX,
        "skillListingBudgetFraction": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "skillListingMaxDescChars": whole(1),
        "skillOverrides": mapped(one_of("on name-only user-invocable-only off")),
        "spinnerTipsOverride": closed(
            {"excludeDefault": TRUTH, "tips": listed(SOME, minItems=1)}, "tips"
        ),
        "spinnerVerbs": closed(
            {"mode": one_of("append replace"), "verbs": listed(SOME, minItems=1)}, "verbs"
        ),
        "sshConfigs": listed(
            closed(
                {
                    **dict.fromkeys(words("id name sshHost sshIdentityFile startDirectory"), TEXT),
                    "sshPort": whole(),
                },
                "id",
                "name",
                "sshHost",
            )
        ),
        "statusLine": closed(
            {
                **COMMAND,
                "padding": NUMBER,
                "refreshInterval": whole(1),
                "hideVimModeIndicator": TRUTH,
            },
            "type",
            "command",
        ),
        "strictKnownMarketplaces": _marketplaces(TEXT),
        "strictPluginOnlyCustomization": either(
            TRUTH, listed(one_of("skills agents hooks mcp"), uniqueItems=True)
        ),
        "subagentStatusLine": closed({**COMMAND, "command": SOME}, "type", "command"),
        "teammateDefaultModel": {"type": ["string", "null"]},
        "theme": either(
            one_of("auto dark light dark-daltonized light-daltonized dark-ansi light-ansi"),
            like("^custom:.+"),
        ),
        "vimInsertModeRemaps": mapped(TEXT, "^..$"),
        "voice": closed({"enabled": TRUTH, "mode": one_of("hold tap"), "autoSubmit": TRUTH}),
        "worktree": closed(
            {
                "sparsePaths": SOMES,
                "baseRef": one_of("fresh head"),
                "bgIsolation": one_of("worktree none"),
                "symlinkDirectories": TEXTS,
            }
        ),
    }
)
SETTING_NAMES: Final = frozenset(SETTINGS["properties"])
