"""What the admin API says about pipelines and their dead letters: requests and replies."""

from typing import Any, Final

from pydantic import Field

from callboard.messages.core.contract import Contract, Request

__all__ = [
    "DiscardLetters",
    "LetterView",
    "LettersDiscarded",
    "LettersPage",
    "LettersReplayed",
    "PipelineStanding",
    "PipelinesView",
    "QueryLetters",
    "QueryPipelines",
    "ReplayLetters",
    "ResumeStoppedPipeline",
    "StoppedPipelineResumed",
]

LETTERS_MAX: Final = 500
NUMBERS_MAX: Final = 500
WHOLE_MAX: Final = 20


class PipelineStanding(Contract, name="callboard.admin.pipeline"):
    """One pipeline, as its store has it."""

    name: str
    state: str
    reason: str = ""
    """Why it has stopped."""
    version: int = 1
    source: str = ""
    sink: str = ""
    position: Any = None
    batches: int = 0
    committed_at: float = 0.0
    behind: int | None = None
    """Rows that its source had left then; None where this is unknown."""
    account: dict[str, Any] | None = None
    problems: tuple[str, ...] = ()
    """What does not add up."""


class PipelinesView(Contract, name="callboard.admin.pipelines"):
    """Pipelines, by name."""

    items: tuple[PipelineStanding, ...] = ()


class QueryPipelines(Request[PipelinesView], name="callboard.admin.query_pipelines"):
    """Ask for the pipelines in the stores that this process knows."""

    pipeline: str = ""
    """Only this one."""


class LetterView(Contract, name="callboard.admin.letter"):
    """One dead letter of a pipeline."""

    pipeline: str
    number: int
    stage: str
    at: float
    attempt: int
    schema_version: int = 1
    """The version of the pipeline that made it."""
    place: str
    """Its source, and its place there."""
    execution: str = ""
    reasons: tuple[str, ...] = ()
    original: Any = None
    is_cut: bool = False
    """Whether the original is too large for this page, and is left out."""


class LettersPage(Contract, name="callboard.admin.letters"):
    """Dead letters, by pipeline and number."""

    items: tuple[LetterView, ...] = ()
    next: tuple[str, int] | None = None
    """The pipeline and the number after which the next page begins."""


class QueryLetters(Request[LettersPage], name="callboard.admin.query_letters"):
    """Ask for dead letters of pipelines."""

    pipeline: str = ""
    """Only of this one."""
    stage: str = ""
    """Only of this stage."""
    numbers: tuple[int, ...] = Field(default=(), max_length=WHOLE_MAX)
    """Exactly these of the pipeline, with whole originals."""
    after: tuple[str, int] | None = None
    limit: int = Field(default=50, ge=1, le=LETTERS_MAX)


class LettersReplayed(Contract, name="callboard.admin.letters_replayed"):
    """The pipeline takes the letters again, now or when it runs next."""

    numbers: tuple[int, ...]


class ReplayLetters(Request[LettersReplayed], name="callboard.admin.replay_letters"):
    """Replay dead letters of a pipeline."""

    pipeline: str = Field(min_length=1)
    numbers: tuple[int, ...] = Field(min_length=1, max_length=NUMBERS_MAX)
    by: str = ""
    """Who asks for it; the service sets it."""


class LettersDiscarded(Contract, name="callboard.admin.letters_discarded"):
    """The letters are gone, and the accounts count them."""

    numbers: tuple[int, ...]


class DiscardLetters(Request[LettersDiscarded], name="callboard.admin.discard_letters"):
    """Delete dead letters of a pipeline for good."""

    pipeline: str = Field(min_length=1)
    numbers: tuple[int, ...] = Field(min_length=1, max_length=NUMBERS_MAX)
    by: str = ""
    """Who asks for it; the service sets it."""


class StoppedPipelineResumed(Contract, name="callboard.admin.pipeline_resumed"):
    """Whether the pipeline had stopped."""

    was_stopped: bool


class ResumeStoppedPipeline(
    Request[StoppedPipelineResumed], name="callboard.admin.resume_pipeline"
):
    """Let a pipeline go on that has stopped itself, now or when it runs next."""

    pipeline: str = Field(min_length=1)
    by: str = ""
    """Who asks for it; the service sets it."""
