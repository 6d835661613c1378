"""The rules of all gates as data: how severe each is, and what to do about it.

A policy of the deployer replaces severities; a package may only raise them for itself.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from .package import Severity

__all__ = ["OF_COMPATIBILITY", "OF_SECURITY", "OF_SEMANTICS", "RULES", "Rule"]

ERROR: Final = Severity.ERROR
WARNING: Final = Severity.WARNING
FACT: Final = Severity.FACT


class Rule(NamedTuple):
    """One rule."""

    severity: Severity
    suggestion: str = ""


OF_FORMATS: Final[Mapping[str, Rule]] = {
    # files
    "file-unreadable": Rule(ERROR, "Check the file's permissions."),
    "file-too-large": Rule(ERROR, "Split it, or leave it out."),
    "too-many-files": Rule(ERROR, "Point at a smaller folder."),
    "link-leaves-folder": Rule(ERROR, "Copy the file into the folder."),
    "link-broken": Rule(ERROR, "Remove the link, or restore its target."),
    "submodule": Rule(WARNING, "Validate the submodule by itself."),
    "not-utf-8": Rule(ERROR, "Save the file as UTF-8."),
    "unknown-kind": Rule(FACT, "Put it into a folder that says what it is, such as agents."),
    # front matter
    "yaml-unquoted-colon": Rule(ERROR, "Put the value into quotes."),
    "yaml-flow-sequence": Rule(ERROR, "Put the value into quotes."),
    "yaml-flow-mapping": Rule(ERROR, "Put the value into quotes."),
    "yaml-alias": Rule(ERROR, "Put the value into quotes: * and & begin aliases and anchors."),
    "yaml-repeated-key": Rule(ERROR, "Keep one of them."),
    "yaml-invalid": Rule(ERROR, "Correct the YAML."),
    "front-matter-repaired": Rule(WARNING, "Put the value into quotes."),
    "no-front-matter": Rule(ERROR, "Begin with a line of --- and the fields."),
    "unclosed-front-matter": Rule(ERROR, "End the fields with a line of ---."),
    # fields
    "name-missing": Rule(ERROR, "Add the field name."),
    "description-missing": Rule(ERROR, "Add a description that says when to use it."),
    "name-unusable": Rule(ERROR, "Use lower case letters, digits and hyphens."),
    "name-not-kebab": Rule(WARNING, "Use lower case letters, digits and hyphens."),
    "name-differs-from-file": Rule(FACT, "Name the file after its component."),
    "name-differs-from-folder": Rule(WARNING, "Name the folder after the skill."),
    "name-ignored": Rule(FACT, "The file name is the name of a command."),
    "wrong-type": Rule(ERROR),
    "wrong-value": Rule(ERROR),
    "unknown-field": Rule(WARNING, "Unknown fields have no effect."),
    "field-ignored": Rule(WARNING, "Plugins cannot grant this: the field has no effect there."),
    "empty-field": Rule(WARNING, "Remove the field, or fill it in."),
    "empty-body": Rule(WARNING, "Write what it is to do."),
    "argument-hint-not-string": Rule(WARNING, "Put the hint into quotes."),
    "description-over-1024": Rule(FACT, "It is sent with each request: shorten it."),
    "description-literal-backslash-n": Rule(FACT, "Use a block (|) for several lines."),
    "color-not-allowed": Rule(WARNING, "Choose one of the known colours."),
    "unknown-model": Rule(WARNING, "Use an alias such as sonnet, or a full model id."),
    "unknown-tool": Rule(WARNING, "A tool of this name does not exist: correct or remove it."),
    "legacy-tool": Rule(WARNING, "The tool has been retired or renamed."),
    "tool-never-available": Rule(WARNING, "This tool never runs inside of an agent."),
    "tools-wildcard": Rule(WARNING, "Leave tools out to inherit all."),
    "body-over-500-lines": Rule(FACT, "Move parts into files of their own."),
    "over-4-mib": Rule(WARNING, "A file of this size is skipped."),
    "uses-arguments": Rule(FACT),
    "uses-positional": Rule(FACT),
    "positional-counts-from-zero": Rule(
        WARNING, "$0 is the first argument; escape a price as \\$."
    ),
    "portable-field": Rule(ERROR, "The open standard for skills does not have this field."),
    "portable-limit": Rule(ERROR, "Keep to the open standard for skills."),
    # JSON
    "json-invalid": Rule(ERROR, "Correct the JSON."),
    "json-repeated-key": Rule(ERROR, "Keep one of them."),
    "schema-invalid": Rule(ERROR),
    "unknown-key": Rule(WARNING, "Unknown keys have no effect."),
    "unknown-server-key": Rule(WARNING, "Unknown keys have no effect."),
    "url-without-type": Rule(ERROR, 'Add "type": "http" or "sse".'),
    "server-without-command": Rule(ERROR, "Add a command, or a type with a url."),
    "reserved-name": Rule(ERROR, "Choose another name."),
    "timeout-under-a-second": Rule(
        WARNING, "A timeout is in milliseconds; under 1,000 is ignored."
    ),
    "hook-timeout-in-milliseconds": Rule(WARNING, "A hook's timeout is in seconds."),
    "permission-rule-broken": Rule(ERROR, "Write Tool or Tool(specifier)."),
    "path-rule-never-consulted": Rule(WARNING, "Write the rule for Edit or Read."),
    "path-leaves-plugin": Rule(ERROR, "Paths begin with ./ and stay inside of the plugin."),
    "policy-broken": Rule(ERROR, "Correct the policy."),
    "own-invalid": Rule(ERROR, "Correct it as the documentation of its format says."),
    "own-unchecked": Rule(WARNING, "Only the syntax was checked."),
}
OF_SEMANTICS: Final[Mapping[str, Rule]] = {
    "duplicate-name": Rule(WARNING, "Which one is used depends on the order of files."),
    "shadowed": Rule(WARNING, "Rename one of them if both are meant."),
    "unresolved-reference": Rule(WARNING, "Add it to the package, or to the targets."),
    "reference-cycle": Rule(ERROR, "Take one of the references away."),
    "policy-violated": Rule(ERROR, "Follow the policy, or change it."),
    "policy-failed": Rule(ERROR, "Correct the expression of the policy."),
}
OF_SECURITY: Final[Mapping[str, Rule]] = {
    "secret": Rule(ERROR, "Remove it, use a variable, and replace the secret: it is known now."),
    "secret-scan-incomplete": Rule(ERROR, "Scan the file with another limit, or leave it out."),
    "invisible-characters": Rule(WARNING, "Remove them: a reader does not see what a model reads."),
    "bidirectional-characters": Rule(ERROR, "Remove them: they show the text in another order."),
    "download-piped-to-shell": Rule(WARNING, "Download, check the digest, then run."),
    "unrestricted-bash": Rule(WARNING, "Name the commands: Bash(git status *)."),
    "bypass-permissions": Rule(ERROR, "Choose a mode that asks."),
    "home-path": Rule(WARNING, "Use ~ or a path from the root of the project."),
    "unpinned-source": Rule(WARNING, "Name a version, or a commit's sha."),
    "headers-helper": Rule(WARNING, "It runs a command at each connection: read it."),
    "hook-runs-code": Rule(WARNING, "It runs on each such event: read it."),
    "helper-runs-code": Rule(WARNING, "It runs by itself: read it."),
    "shell-injection": Rule(WARNING, "The line runs in a shell before the model reads it."),
    "sandbox-off": Rule(WARNING, "Leave the sandbox on."),
}
OF_COMPATIBILITY: Final[Mapping[str, Rule]] = {
    "schema-break": Rule(ERROR, "Add optional fields only, or deploy readers first."),
    "stored-document-refused": Rule(ERROR, "The new schema has to read what is stored."),
    "removed-while-referenced": Rule(ERROR, "Remove the references first."),
    "component-removed": Rule(FACT),
    "tool-removed": Rule(WARNING, "Check what the agent still needs."),
    "permission-widened": Rule(WARNING, "It needs an approval."),
    "permission-narrowed": Rule(WARNING, "Try it over recent calls first."),
    "version-unchanged": Rule(ERROR, "Raise the version: the content has changed."),
}
RULES: Final[Mapping[str, Rule]] = {
    **OF_FORMATS,
    **OF_SEMANTICS,
    **OF_SECURITY,
    **OF_COMPATIBILITY,
}
