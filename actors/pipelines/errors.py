"""Errors of pipelines, grouped by who must act."""

from collections.abc import Sequence
from typing import Final

from callboard.messages.core.errors import CallboardError, SpecError, UsageError

__all__ = [
    "PROBLEMS_SHOWN_MAX",
    "LetterUnreadable",
    "PipelineRefused",
    "PipelineStopped",
    "ProcessorNotFoundError",
    "StageFailed",
    "StageOutputRefused",
    "StageTimedOut",
    "StageValidationError",
]

PROBLEMS_SHOWN_MAX: Final = 50


# --- who wrote the pipeline must act -----------------------------------------------------


class PipelineRefused(SpecError):
    """A pipeline is wrong. The text has every problem with its place."""

    code = "pipeline_refused"

    @classmethod
    def of(cls, name: str, problems: Sequence[str]) -> "PipelineRefused":
        """The error for these problems; each begins with its place."""
        shown = list(problems[:PROBLEMS_SHOWN_MAX])
        if len(problems) > len(shown):
            shown.append(f"and {len(problems) - len(shown)} more")
        counted = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        return cls(
            f"the pipeline {name!r} has {counted}: " + "; ".join(shown) + ".",
            advice="Correct all of them: nothing was started.",
            problems=list(problems),
        )


class ProcessorNotFoundError(PipelineRefused):
    """A stage has a type that is not registered."""

    code = "processor_not_found"


class LetterUnreadable(UsageError):
    """A dead letter cannot become a row again."""

    code = "letter_unreadable"


# --- who wrote a stage, or its input, must act -------------------------------------------


class StageValidationError(CallboardError):
    """Rows do not match the schema of a stage."""

    code = "stage_validation"


class StageFailed(CallboardError):
    """A stage has failed, and its policy is to stop the pipeline."""

    code = "stage_failed"


class StageOutputRefused(CallboardError):
    """A stage gave more rows than it got, other columns than it declares, or no batch."""

    code = "stage_output_refused"


class StageTimedOut(CallboardError):
    """A stage did not end within its deadline."""

    code = "stage_timed_out"


# --- the operator must act ---------------------------------------------------------------


class PipelineStopped(CallboardError):
    """The pipeline has stopped: it takes no rows until someone resumes it."""

    code = "pipeline_stopped"
