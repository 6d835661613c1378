"""The review as a job, with a function for every phase of an execution.

    validate    the root is a folder, the specialists exist
    enrich      reads the sizes of the files, which determine the batches
    route       small trees go file by file, others by size; each request goes to its pool
    decompose   batches of files, for each specialist; the long ones first
    expand      the remaining files of an agent become one more sub-task
    reduce      collects the replies of the agents in the order of the plan
    resolve     resolves the findings of several agents about the same place
    check       every specialist has seen every file once, even after a lost host
    transform   makes the report
    format      renders the report as JSON, SARIF and HTML
    deliver     writes each file into the folder, as a whole or not at all

The functions depend only on their arguments. `review_job` binds the values of one review (its tree,
its folder) to them.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from callboard import Contract, Job, JobContext, SubTask
from callboard.errors import RequestRejected, ResultRejected
from callboard.jobs import RetryPolicy, Route
from callboard.reducers import Collect
from callboard.updates import ExecutionPhase

from .agents import SLICE_S, SPECIALISTS, BatchFindings
from .finding import Finding
from .progress import View, follow
from .reach import check_hosts
from .report import Report, build_report, render_json
from .report.html import render_html
from .report.output import write_atomically
from .report.sarif import render_sarif
from .resolve import resolve
from .source import local_name
from .tree import SourceTree

if TYPE_CHECKING:
    from callboard import System

__all__ = ["ReviewTree", "Settled", "review_job", "review_request", "review_tree"]

BATCH_BYTES: Final = 200_000
"""Half a second of work of the slowest specialist. A standard library has about 60 batches, so that
the hosts finish at about the same time, and a lost host loses little."""

SMALL_TREE_FILES: Final = 40
"""For fewer files, batches would leave hosts without work."""

TASK_TIMEOUT_S: Final = 300.0
"""A specialist without a reply for so long has hung."""

BY_FILE: Final = "by-file"
Timings = Callable[[], Mapping[str, float]]


class ReviewTree(Contract, name="review.tree"):
    """The request: review these files under `root`. The enrich phase fills in `sizes_bytes`."""

    root: str
    paths: tuple[str, ...]
    specialists: tuple[str, ...]
    slice_s: float = SLICE_S
    sizes_bytes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Settled:
    """The merged result: resolved findings, and how often each specialist saw each file."""

    findings: tuple[Finding, ...]
    seen: Mapping[tuple[str, str], int]


def review_request(tree: SourceTree, *, slice_s: float = SLICE_S) -> ReviewTree:
    """The request for a review of `tree` by every specialist."""
    return ReviewTree(
        root=str(tree.root.resolve()),
        paths=tree.paths,
        specialists=tuple(SPECIALISTS),
        slice_s=slice_s,
    )


def review_job(tree: SourceTree, folder: Path, timings: Timings) -> Job[ReviewTree, Report]:
    """The job that reviews `tree` and delivers into `folder`. The files contain `timings`."""
    phase = ExecutionPhase
    return Job(
        name="review",
        validate=(root_is_a_folder, specialists_exist),
        enrich=with_sizes,
        route=route,
        decompose=by_size,
        plan_makers={BY_FILE: by_file},
        expand=remaining_files,
        reducer=Collect[BatchFindings](),
        resolve=settle,
        check=(partial(every_file_was_seen, tree), partial(findings_are_in_the_tree, tree)),
        transform=partial(_report_on, tree),
        format=partial(_rendered, timings, tree.root),
        deliver=partial(_write, folder),
        # With thousands of findings these phases take seconds, so they run in threads.
        threads=frozenset(
            {
                phase.ENRICHING, phase.RESOLVING, phase.CHECKING, phase.TRANSFORMING,
                phase.FORMATTING, phase.DELIVERING,
            }
        ),
        task_timeout_s=TASK_TIMEOUT_S,
        task_retry=RetryPolicy(attempts_max=2),
    )  # fmt: skip


async def review_tree(
    system: "System", tree: SourceTree, folder: Path, timings: Timings, view: View
) -> Report:
    """Start the agents, submit the review of `tree`, and show its updates until it is done.

    Raises a `CallboardError` when the review fails. Then nothing is delivered. On a cluster,
    `ClusterError` when a host lacks files of the tree or the analysers; then no agent starts.
    """
    if system.settings.address is not None:
        view.say("comparing the source tree on every node")
        await check_hosts(system, tree)
    hosts = system.living_hosts
    view.say("starting the agents")
    # One of each on every host. More could not compute at the same time.
    await asyncio.gather(
        *(system.pool(agent, size=hosts, name=name) for name, agent in SPECIALISTS.items())
    )
    handle = system.submit(review_job(tree, folder, timings), review_request(tree))
    try:
        await follow(
            handle.updates(),
            view,
            files=len(tree.paths),
            living_hosts=lambda: system.living_hosts,
        )
        return await handle.result()
    finally:
        # After Ctrl-C this stops the agents, so that the system can end quickly.
        handle.cancel()


# --- before the agents work --------------------------------------------------------------------


def root_is_a_folder(request: ReviewTree) -> None:
    """Check that the tree still exists. Raises `RequestRejected`."""
    if not Path(request.root).is_dir():
        raise RequestRejected(
            f"the source tree {request.root} is not a folder.",
            advice="Name the folder that holds the source tree.",
        )


def specialists_exist(request: ReviewTree) -> None:
    """Check the names. Raises `RequestRejected` for an unknown or repeated one."""
    wrong = sorted(
        name
        for name, times in Counter(request.specialists).items()
        if times > 1 or name not in SPECIALISTS
    )
    if wrong:
        raise RequestRejected(
            f"these specialists are unknown or named twice: {', '.join(wrong)}.",
            advice=f"There are: {', '.join(SPECIALISTS)}.",
        )


def with_sizes(request: ReviewTree, context: JobContext) -> ReviewTree:  # noqa: ARG001 - the signature of a phase
    """The request with the size of each file; 0 for a file that cannot be accessed."""
    sizes = tuple(_size_bytes(Path(request.root), path) for path in request.paths)
    return request.model_copy(update={"sizes_bytes": sizes})


def _size_bytes(root: Path, path: str) -> int:
    for name in (path, local_name(path)):
        try:
            return os.lstat(root / name).st_size
        except (OSError, ValueError):
            continue
    return 0


def route(request: ReviewTree) -> Route:
    """Small trees go file by file. Each specialist's requests go to the pool of its name."""
    return Route(
        plan_maker=BY_FILE if len(request.paths) < SMALL_TREE_FILES else None,
        agents={SPECIALISTS[name].request.contract_name: name for name in request.specialists},
    )


def by_size(request: ReviewTree) -> Iterator[SubTask]:
    """Batches of about `BATCH_BYTES`, for each specialist."""
    batch: list[str] = []
    batch_bytes = number = 0
    for path, size_bytes in zip(request.paths, request.sizes_bytes, strict=True):
        if batch and batch_bytes + size_bytes > BATCH_BYTES:
            yield from _for_all(request, number, batch, batch_bytes)
            batch, batch_bytes, number = [], 0, number + 1
        batch.append(path)
        batch_bytes += size_bytes
    if batch:
        yield from _for_all(request, number, batch, batch_bytes)


def by_file(request: ReviewTree) -> Iterator[SubTask]:
    """Each file alone, for each specialist."""
    for number, path in enumerate(request.paths):
        yield from _for_all(request, number, [path], request.sizes_bytes[number])


def _for_all(
    request: ReviewTree, number: int, batch: Sequence[str], size_bytes: int
) -> Iterator[SubTask]:
    for name in request.specialists:
        agent = SPECIALISTS[name]
        work = agent.request(root=request.root, paths=tuple(batch), slice_s=request.slice_s)
        # The longest first, so that the last ones are short and no host waits for another.
        yield SubTask(f"{name}/{number}", work, priority=agent.cost * (1 + size_bytes // 1_000))


# --- while the agents work ---------------------------------------------------------------------


def remaining_files(sub_task: SubTask, answer: BatchFindings) -> tuple[SubTask, ...]:
    """One more sub-task for the remaining files of an agent."""
    if not answer.left:
        return ()
    work = sub_task.request.model_copy(update={"paths": answer.left})
    origin, _, part = sub_task.id.partition("+")
    files = len(answer.reviewed) + len(answer.left)
    priority = sub_task.priority * len(answer.left) // files
    return (SubTask(f"{origin}+{int(part or 0) + 1}", work, priority=priority),)


# --- after the agents have worked --------------------------------------------------------------


def settle(answers: Sequence[BatchFindings]) -> Settled:
    """One finding for each place and topic, with conflicts resolved."""
    seen: Counter[tuple[str, str]] = Counter()
    for answer in answers:
        seen.update((answer.specialist, path) for path in answer.reviewed)
    return Settled(resolve(finding for answer in answers for finding in answer.findings), seen)


def every_file_was_seen(tree: SourceTree, settled: Settled) -> None:
    """Check that each specialist saw each file once. Raises `ResultRejected`."""
    expected = {(name, path) for name in SPECIALISTS for path in tree.paths}
    wrong = sorted(expected ^ settled.seen.keys())
    wrong += sorted(pair for pair, times in settled.seen.items() if times != 1)
    if wrong:
        name, path = wrong[0]
        raise ResultRejected(
            f"{len(wrong)} files were left out or seen twice, the first by {name}: {path}.",
            advice="This is a defect of the plan: please report it.",
        )


def findings_are_in_the_tree(tree: SourceTree, settled: Settled) -> None:
    """Check that each finding is about a file of the tree. Raises `ResultRejected`."""
    strangers = sorted({finding.path for finding in settled.findings} - set(tree.paths))
    if strangers:
        raise ResultRejected(
            f"{len(strangers)} findings are about files outside the tree, for instance "
            f"{strangers[0]}.",
            advice="This is a defect of an analyser: please report it.",
        )


def _report_on(tree: SourceTree, settled: Settled) -> Report:
    return build_report(tree, tuple(SPECIALISTS), settled.findings)


def _rendered(timings: Timings, root: Path, report: Report) -> dict[str, bytes]:
    taken = timings()
    return {
        "report.json": render_json(report, taken),
        "report.sarif": render_sarif(report),
        "report.html": render_html(report, taken, root=root),
    }


def _write(folder: Path, contents: Mapping[str, bytes]) -> None:
    for name, data in contents.items():
        write_atomically(folder / name, data)
