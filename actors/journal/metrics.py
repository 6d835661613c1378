"""What a journal counts, as metrics of its host."""

from callboard.messages.storage.errors import StoreFault

from ..kernel.inspection.metric_sources import Name, Reading
from .journal import Journal

__all__ = ["reading_of"]


def reading_of(journal: Journal) -> Reading:
    """The journal's figures now; see `runtime.telemetry.metrics` for what each says."""
    done = journal.statistics()
    counts: dict[Name, float] = {
        Name("callboard_journal_appends"): done.appends,
        Name("callboard_journal_events"): done.events,
        Name("callboard_journal_bytes"): done.bytes,
        Name("callboard_journal_commits"): done.groups,
        Name("callboard_journal_commit_seconds"): done.commit_s,
        Name("callboard_journal_retries"): done.retries,
        Name("callboard_journal_refused"): done.refused,
        Name("callboard_journal_failed"): done.failed,
    }
    for fault in StoreFault:
        # All kinds from the start: an alarm on one that never was is an alarm on nothing.
        counts[Name("callboard_journal_faults", fault)] = journal.faults[fault]
    return Reading(counts, {Name("callboard_journal_waiting_events"): journal.waiting_events})
