"""A finding about a place in the source, and the resolution of several claims into one.

A raw finding of an analyser has one agent and no resolution. A resolved finding may have several
agents. Then its `resolution` keeps every claim, so that resolving it again, together with others,
loses nothing.
"""

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

__all__ = [
    "MESSAGE_CHARS_MAX",
    "Claim",
    "Finding",
    "Policy",
    "Resolution",
    "Severity",
    "clean_text",
]

MESSAGE_CHARS_MAX: Final = 300
"""A longer message is cut to one line of a table."""


class Severity(StrEnum):
    """The severity of a finding, from a remark to an emergency."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info up to 4 for critical."""
        return tuple(Severity).index(self)


class Policy(StrEnum):
    """The rule that resolved the claims of a finding; see `resolve.py`."""

    AGREEMENT = "agreement"
    WEIGHTED_SEVERITY = "weighted-severity"
    EXONERATED = "exonerated"
    EXONERATION_OVERRULED = "exoneration-overruled"


def clean_text(text: object) -> str:
    """One printable line of valid Unicode, at most `MESSAGE_CHARS_MAX` long.

    Analysers quote source text. It may contain control characters and, from escapes in string
    literals, surrogates that no encoder accepts.
    """
    encodable = str(text).encode("utf-8", "backslashreplace").decode("utf-8")
    one_line = " ".join(encodable.split())
    printable = "".join(
        character if character.isprintable() else f"\\u{ord(character):04x}"
        for character in one_line
    )
    if len(printable) > MESSAGE_CHARS_MAX:
        return printable[: MESSAGE_CHARS_MAX - 1] + "…"
    return printable


def _two_decimals(value: float) -> float:
    return round(value, 2)


Confidence = Annotated[float, Field(ge=0.0, le=1.0), AfterValidator(_two_decimals)]
Text = Annotated[str, BeforeValidator(clean_text)]


class Claim(BaseModel):
    """The claim of one agent. The finding that contains it names the path."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent: str
    rule: str
    message: Text
    severity: Severity
    confidence: Confidence
    line: int = Field(ge=1)
    column: int | None = Field(default=None, ge=1)
    exoneration: Text | None = None

    @property
    def hundredths(self) -> int:
        """The confidence as an integer, for exact arithmetic."""
        return round(self.confidence * 100)


class Resolution(BaseModel):
    """The rule that made a finding of its claims, in words, with all claims."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Policy
    text: Text
    claims: tuple[Claim, ...] = Field(min_length=1)


class Finding(BaseModel):
    """A problem at a place.

    `topic` is the kind of problem, in words that all agents share. `subject` is the affected name,
    where one line may have several (two imports, for instance). `exoneration` is the author's
    comment that excuses it, for instance `# noqa`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(min_length=1)
    line: int = Field(ge=1)
    column: int | None = Field(default=None, ge=1)
    topic: str
    subject: str = ""
    rule: str
    message: Text
    severity: Severity
    confidence: Confidence
    agents: tuple[str, ...] = Field(min_length=1)
    exoneration: Text | None = None
    resolution: Resolution | None = None

    @model_validator(mode="after")
    def _agents_are_a_sorted_set(self) -> Self:
        if list(self.agents) != sorted(set(self.agents)):
            raise ValueError("agents must be sorted and without repeats")
        return self

    @property
    def sort_key(self) -> tuple[str, int, int, str, str, str, str, tuple[str, ...]]:
        """The order of a report: by place, then by topic and message."""
        return (
            self.path,
            self.line,
            self.column or 0,
            self.topic,
            self.subject,
            self.rule,
            self.message,
            self.agents,
        )
