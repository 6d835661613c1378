"""What an agent says about a place, and how several such sayings became one.

A raw finding (as an analyser makes it) has one agent and no resolution. A resolved
finding may have several agents; then its `resolution` keeps every claim it was made
of, so that resolving resolved findings again, together with others, loses nothing.
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
"""A longer message is cut: it is one line in a table."""


class Severity(StrEnum):
    """How bad it is, from a remark to an emergency."""

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
    """How a finding of several claims was settled; `resolve.py` states each rule."""

    AGREEMENT = "agreement"
    WEIGHTED_SEVERITY = "weighted-severity"
    EXONERATED = "exonerated"
    EXONERATION_OVERRULED = "exoneration-overruled"


def clean_text(text: object) -> str:
    """One printable line of valid Unicode, at most `MESSAGE_CHARS_MAX` long.

    Analysers quote source text, which may hold control characters and, from escapes
    in string literals, surrogates that no encoder takes.
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
    """What one agent said about a path; the finding that holds it names the path."""

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
        """The confidence as an integer, for arithmetic that is exact everywhere."""
        return round(self.confidence * 100)


class Resolution(BaseModel):
    """How a finding came out of its claims: the rule, in words, and all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Policy
    text: Text
    claims: tuple[Claim, ...] = Field(min_length=1)


class Finding(BaseModel):
    """A problem at a place.

    `topic` is what the problem is about, in words shared by all agents; `subject` is
    the name concerned, where several may stand on one line (two imports, say).
    `exoneration` is the author's comment that excuses it, `# noqa` for instance.
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
        """The order of a report: by place, then by what is said."""
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
