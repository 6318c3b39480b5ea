"""Carry out a decision: announce it, write it to the ledger, and start the run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from vonage_reports.aws.ledger import Change, RequestAlreadyClaimed, VersionConflict
from vonage_reports.domain import notifications
from vonage_reports.domain.catalogue import Registration
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
    Store,
    Transition,
    apply,
)
from vonage_reports.domain.metrics import of_transition
from vonage_reports.domain.objects import manifest_key, partition, receipt_key
from vonage_reports.domain.pace import observed_pace, teaches_pace
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.spend import spending_of
from vonage_reports.domain.splitting import MAX_LEAVES, halves_of
from vonage_reports.domain.volume import deviation, reports_before
from vonage_reports.domain.waits import TOLD_AT_RESUME
from vonage_reports.submit_reports.context import Services


@contextmanager
def collect_errors(errors: list[Exception]) -> Iterator[None]:
    """Append the error of one report to `errors`, so that the other reports continue.

    If another invocation changed the report first, that is no error.
    """
    try:
        yield
    except (VersionConflict, RequestAlreadyClaimed):
        pass
    except Exception as error:  # noqa: BLE001 - the other reports must continue
        errors.append(error)


def execute(
    report: Report,
    decision: Decision,
    services: Services,
    *,
    now: datetime,
    records: int | None = None,
) -> Report:
    """Carry out a decision and return the changed report.

    Announces a transition before writing it, so that the announcement is sent at least once. If
    Vonage counted `records` in the report's request, they count in its month, once.

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
        raise TypeError("the caller must cancel the report at Vonage and decide again")
    if isinstance(decision, Split):
        return _split(report, services, now=now, records=records)
    # Refuse an illegal transition before it is announced.
    apply(report, decision, now=now)
    if _is_announced(report, decision):
        report = _announce(report, decision, services, now=now)
    spending = spending_of(report, records)
    before, after = report, apply(report, decision, now=now)
    if spending is not None:
        after = replace(after, counted=report.request_id)
    report = services.ledger.write(
        before, after, _registration(before, decision, now), spending=spending
    )
    _emit(of_transition(before, report, now=now), report, services)
    if isinstance(decision, Adopt | Convert):
        services.executions.start(report)
    if isinstance(decision, Deliver) and before.rows is None and report.backfill is None:
        _compare_volume(report, services)
    if isinstance(decision, Deliver | Store) and before.state is State.SUBMITTED:
        _learn_pace(report, services)
    return report


def _registration(report: Report, decision: Transition, now: datetime) -> Registration | None:
    """Return what the catalogue lacks of a delivery, or None."""
    if not isinstance(decision, Deliver | Convert) or not decision.is_unregistered:
        return None
    return Registration(
        report.report_id, report.product, partition(report), manifest_key(report), now
    )


def _emit(values: Mapping[str, float], report: Report, services: Services) -> None:
    services.metrics.emit(
        values,
        definition=report.definition,
        report_id=report.report_id,
        request_id=report.request_id,
        execution=report.execution_name,
    )


def _learn_pace(report: Report, services: Services) -> None:
    """Record how long Vonage took for a report, so that the first poll of later ones fits."""
    if not teaches_pace(report):
        return
    receipt = services.bucket.read_json(receipt_key(report))
    pace = None if receipt is None else observed_pace(report, receipt["times"]["ready"])
    if pace is not None:
        services.ledger.note_pace(report, pace)


def _compare_volume(report: Report, services: Services) -> None:
    """Emit how far a window's rows are from the baseline, which backfills do not have."""
    history = services.ledger.delivered_rows(reports_before(report))
    found = deviation(report.rows or 0, history)
    if found is not None:
        _emit({"VolumeDeviation": found}, report, services)


def _split(report: Report, services: Services, *, now: datetime, records: int | None) -> Report:
    """Write the split, its halves and the new number of parts, in one transaction.

    If a window is collected again, halves of its first collection may exist. Replan these halves.
    """
    spending = spending_of(report, records)
    split = apply(report, Split(), now=now)
    if spending is not None:
        split = replace(split, counted=report.request_id)
    changes: list[Change] = [(report, split)]
    for half in halves_of(report, now=now):
        before = services.ledger.finished_report(half.report_id)
        if before is None:
            changes.append((None, apply(None, Plan(half), now=now)))
        else:
            replanned = replace(
                apply(before, Replan(), now=now),
                expected_rows=half.expected_rows,
                pace=half.pace,
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
    return services.ledger.write_all(changes, spending=spending)[0]


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

    The same cause is announced again only if it recurs after it was resolved.
    """
    cause = notifications.cause(report, error)
    if cause not in announced:
        services.topic.announce(notifications.refused_by_vonage(report, error))
        services.ledger.mark_announced(cause)


def _announce(
    report: Report, transition: Transition, services: Services, *, now: datetime
) -> Report:
    """Take a lease and announce a transition. Return the report with the lease.

    The lease keeps other invocations from announcing the transition too. If this invocation dies
    before it writes the state, the next invocation announces again after the lease.
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
