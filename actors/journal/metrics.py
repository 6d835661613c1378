"""The counts of a journal, as metrics of its host."""

from callboard.messages.storage.errors import StoreFault

from ..kernel.inspection.metric_sources import Name, Reading
from .journal import Journal

__all__ = ["reading_of"]


def reading_of(journal: Journal) -> Reading:
    """The journal's figures now; `runtime.telemetry.names` describes each metric."""
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
        # All kinds from the start, so that an alarm can refer to a kind that never occurred.
        counts[Name("callboard_journal_faults", fault)] = journal.faults[fault]
    return Reading(counts, {Name("callboard_journal_waiting_events"): journal.waiting_events})
