"""Carry out a decision: announce it, write it to the ledger, start the run that it needs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from vonage_reports.aws.ledger import Change, RequestAlreadyClaimed, VersionConflict
from vonage_reports.domain import notifications
from vonage_reports.domain.decisions import Cancel, Decision, Start, Stay
from vonage_reports.domain.errors import VonageReportsError
from vonage_reports.domain.lifecycle import (
    Adopt,
    Convert,
    Deliver,
    Fail,
    Hold,
    Plan,
    Replan,
    Resubmit,
    Resume,
    Split,
    Transition,
    apply,
)
from vonage_reports.domain.metrics import of_transition
from vonage_reports.domain.report import Report
from vonage_reports.domain.splitting import MAX_LEAVES, halves_of
from vonage_reports.domain.volume import deviation, reports_before
from vonage_reports.domain.waits import TOLD_AT_RESUME
from vonage_reports.submit_reports.context import Services


@contextmanager
def collect_errors(errors: list[Exception]) -> Iterator[None]:
    """Append the error of one report to `errors`, so that the other reports go on.

    A report that another invocation changed first is no error: there is nothing left to do.
    """
    try:
        yield
    except (VersionConflict, RequestAlreadyClaimed):
        pass
    except Exception as error:  # noqa: BLE001 - an unforeseen error of one report stops no other
        errors.append(error)


def execute(report: Report, decision: Decision, services: Services, *, now: datetime) -> Report:
    """Carry out a decision and return the report as it is then.

    An announcement goes out before its transition is written, so that it is made at least once.

    Raises:
        VersionConflict, RequestAlreadyClaimed: another invocation was faster.
        IllegalTransition: the report's state does not allow the transition.
        ClientError, BotoCoreError: AWS refused a call.
    """
    if isinstance(decision, Stay):
        return report
    if isinstance(decision, Start):
        services.executions.start(report)
        return report
    if isinstance(decision, Cancel):
        raise TypeError("the caller asks Vonage to cancel the report, and decides again")
    if isinstance(decision, Split):
        return _split(report, services, now=now)
    # Refuse an illegal transition before it is announced.
    apply(report, decision, now=now)
    if _is_announced(report, decision):
        report = _announce(report, decision, services, now=now)
    before, report = report, services.ledger.write(report, apply(report, decision, now=now))
    _emit(of_transition(before, report, now=now), report, services)
    if isinstance(decision, Adopt | Convert):
        services.executions.start(report)
    if isinstance(decision, Deliver) and before.rows is None and report.backfill is None:
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
    """Emit how far a window's rows are from the baseline. Backfills have no baseline."""
    history = services.ledger.delivered_rows(reports_before(report))
    found = deviation(report.rows or 0, history)
    if found is not None:
        _emit({"VolumeDeviation": found}, report, services)


def _split(report: Report, services: Services, *, now: datetime) -> Report:
    """Write the split, its halves and the new number of parts, in one transaction.

    A window that is collected again may have halves from its first collection: replan them.
    """
    changes: list[Change] = [(report, apply(report, Split(), now=now))]
    for half in halves_of(report, now=now):
        before = services.ledger.finished_report(half.report_id)
        if before is None:
            changes.append((None, apply(None, Plan(half), now=now)))
        else:
            replanned = replace(
                apply(before, Replan(), now=now),
                expected_rows=half.expected_rows,
                profile=half.profile,
                max_records=half.max_records,
                backfill=half.backfill,
            )
            changes.append((before, replanned))
    if report.root is not None:
        root = services.ledger.report(report.root)
        if root is None or root.is_at_end or root.leaves >= MAX_LEAVES:
            raise VersionConflict(f"{report.root} changed since it was read")
        changes.append((root, replace(root, leaves=root.leaves + 1)))
    return services.ledger.write_all(changes)[0]


def _is_announced(report: Report, transition: Transition) -> bool:
    if isinstance(transition, Resume):
        return report.resumes + 1 == TOLD_AT_RESUME
    if isinstance(transition, Fail):
        # The failure of a half is announced with its whole window.
        return not report.is_half
    return isinstance(transition, Resubmit | Hold)


def announce_once(
    report: Report, error: VonageReportsError, announced: frozenset[str], services: Services
) -> None:
    """Announce a refusal that only the operator can mend.

    The same cause is announced again only after it was gone.
    """
    cause = notifications.cause(report, error)
    if cause not in announced:
        services.topic.announce(notifications.refused_by_vonage(report, error))
        services.ledger.mark_announced(cause)


def _announce(
    report: Report, transition: Transition, services: Services, *, now: datetime
) -> Report:
    """Announce a transition and return the report that it is to be written over.

    A lease keeps other invocations from announcing it too. If this invocation dies before the
    state is written, the next one announces it again when the lease is over.
    """
    leased = replace(report, look_after=now + services.waits.announce_lease)
    report = services.ledger.write(report, leased)
    services.topic.announce(_notification(report, transition, services))
    return report


def _notification(report: Report, transition: Transition, services: Services) -> dict[str, Any]:
    execution = services.executions.arn(report) if report.run else None
    match transition:
        case Resubmit():
            return notifications.resubmitted(report, transition, execution=execution)
        case Resume():
            return notifications.resumed(report, transition, execution=execution)
        case Fail():
            return notifications.failed(report, transition, execution=execution)
        case Hold():
            return notifications.held(report, transition)
    raise TypeError(f"{transition!r} is not announced")
