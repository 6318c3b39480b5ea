"""Carries out what the transition table decided: announce, write, start."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from vonage_reports.aws.ledger import Change, RequestAlreadyClaimed, VersionConflict
from vonage_reports.domain import notifications, waits
from vonage_reports.domain.errors import VonageReportsError
from vonage_reports.domain.lifecycle import (
    MAX_LEAVES,
    Adopt,
    Convert,
    Deliver,
    Fail,
    Hold,
    Resubmit,
    Resume,
    Split,
    Start,
    Stay,
    Transition,
    apply,
)
from vonage_reports.domain.metrics import of_transition
from vonage_reports.domain.report import Entry, Report, halves_of, replanned
from vonage_reports.domain.volume import deviation, reports_before
from vonage_reports.submit_reports.context import Services


@contextmanager
def collect_errors(faults: list[Exception]) -> Iterator[None]:
    """Keep the trouble of one report from the others: it is put to `faults`.

    Where another submit_reports was faster there is nothing left to do, and no trouble. Whatever
    else it is, it is raised when all others are seen to.
    """
    try:
        yield
    except (VersionConflict, RequestAlreadyClaimed):
        pass
    except Exception as error:  # noqa: BLE001 - what nobody foresaw of one report is no other's
        faults.append(error)


def execute(report: Report, transition: Transition, services: Services, *, now: datetime) -> Report:
    """Do what `move` says and return the report as it is then.

    Raises Outrun, or RequestServesAnother, where somebody else was faster; botocore's errors.
    """
    if isinstance(transition, Stay):
        return report
    if isinstance(transition, Start):
        services.executions.start(report)
        return report
    if isinstance(transition, Split):
        return _split(report, services, now=now)
    if _is_to_be_announced(report, transition):
        report = _announce(report, transition, services, now=now)
    before, report = report, services.ledger.write(report, apply(report, transition, now=now))
    _emit(of_transition(before, report, now=now), report, services)
    if isinstance(transition, Adopt | Convert):
        services.executions.start(report)
    if isinstance(transition, Deliver) and before.rows is None and report.backfill is None:
        _compare_volume(report, services)
    return report


def _emit(values: Mapping[str, float], report: Report, services: Services) -> None:
    services.metrics.emit(
        values,
        definition=report.definition,
        report_id=report.report_id,
        request_id=report.request_id,
        execution=report.execution_name,
    )


def _compare_volume(report: Report, services: Services) -> None:
    """Say how far off its usual rows a window is. Of a backfill nobody knows what is usual."""
    history = services.ledger.delivered_rows(reports_before(report))
    found = deviation(report.rows or 0, history)
    if found is not None:
        _emit({"VolumeDeviation": found}, report, services)


def _split(report: Report, services: Services, *, now: datetime) -> Report:
    """Write that the report is split, its halves, and how many parts the whole window has then.

    The halves of a window that is collected again have been there before.
    """
    changes: list[Change] = [(report, apply(report, Split(), now=now))]
    for half in halves_of(report, now=now):
        before = services.ledger.finished_report(half.report_id)
        if before is None:
            changes.append((None, half))
        else:
            again = replanned(before, now=now)
            renewed = replace(
                again,
                expected_rows=half.expected_rows,
                profile=half.profile,
                max_records=half.max_records,
                backfill=half.backfill,
            )
            changes.append((before, renewed))
    if report.root is not None:
        root = services.ledger.report(report.root)
        if root is None or root.is_at_end or root.leaves >= MAX_LEAVES:
            raise VersionConflict(f"{report.root} changed since it was read")
        changes.append((root, replace(root, leaves=root.leaves + 1)))
    return services.ledger.write_all(changes)[0]


def _is_to_be_announced(report: Report, transition: Transition) -> bool:
    if isinstance(transition, Resume):
        return report.resumes + 1 == waits.TOLD_AT_RESUME
    if isinstance(transition, Fail):
        # What became of a part is said with the window that it is a part of.
        return not report.is_half
    return isinstance(transition, Resubmit | Hold)


def announce_once(
    report: Report, error: VonageReportsError, announced: frozenset[str], services: Services
) -> None:
    """Announce what only a person can mend: once for each cause, until it is gone."""
    cause = notifications.cause(report, error)
    if cause not in announced:
        services.topic.announce(
            notifications.failed(
                report,
                error=type(error).__name__,
                reason=f"{error}; it is tried again by itself",
                execution=None,
                run_again=None,
            )
        )
        services.ledger.mark_announced(cause)


def _announce(
    report: Report, transition: Transition, services: Services, *, now: datetime
) -> Report:
    """Say what is written next, and return the report that it is to be written over.

    A lease keeps other invocations from saying it too. Whoever dies in between leaves the state
    as it was: it is said again when the lease is over, never not at all.
    """
    lease = max(services.wait_scale * waits.ANNOUNCE_LEASE, waits.SHORTEST_LEASE)
    report = services.ledger.write(report, replace(report, look_after=now + lease))
    execution = services.executions.arn(report) if report.run else None
    match transition:
        case Resubmit(error=error, reason=reason):
            body = notifications.failed(
                report,
                error=error,
                reason=f"{reason}; it is asked for, and billed, again",
                execution=execution,
                run_again=None,
            )
        case Resume(entry=entry, error=error, reason=reason):
            safe = "Vonage has the report" if entry is Entry.CHECK else "the archive is stored"
            body = notifications.failed(
                report,
                error=error,
                reason=f"{reason}; {safe}: it is tried again by itself",
                execution=execution,
                run_again=None,
            )
        case Fail(error=error, reason=reason, part=part, is_stored=is_stored):
            # Collected again, what was too large would be cut short again.
            event = "reconvert" if is_stored else "recollect"
            again = {event: {"report_id": part or report.report_id}}
            body = notifications.failed(
                report,
                error=error,
                reason=reason,
                execution=execution,
                run_again=None if error == "ReportTruncated" else again,
            )
        case Hold(reason=reason, request_id=request_id):
            body = notifications.held(report, reason=reason, request_id=request_id)
        case _:
            raise TypeError(f"{transition} is nothing to announce")
    services.topic.announce(body)
    return report
