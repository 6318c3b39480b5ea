"""The halves of a window that is too large for one report."""

from datetime import datetime

from vonage_reports.domain.report import Priority, Report, report_id
from vonage_reports.domain.traffic_profile import TrafficProfile
from vonage_reports.domain.windows import Window, halves

MAX_LEAVES = 4
"""How many parts a window may have. For more parts, define a shorter window."""


def can_be_split(report: Report, leaves: int) -> bool:
    """Whether a report may be halved. `leaves` is the present number of parts of its window."""
    return leaves < MAX_LEAVES and report.window.can_be_halved


def halves_of(report: Report, *, now: datetime) -> tuple[Report, Report]:
    """Return the planned halves of a report, the older half first."""
    older, younger = halves(report.window)
    cut = older.hours / report.window.hours
    profile = report.profile or TrafficProfile(((report.window.hours, report.expected_rows or 0),))
    return (
        _half(report, "0", older, profile.between(0, cut), now),
        _half(report, "1", younger, profile.between(cut, 1), now),
    )


def _half(
    report: Report, digit: str, window: Window, profile: TrafficProfile, now: datetime
) -> Report:
    split_path = report.split_path + digit
    return Report(
        report_id=report_id(
            definition=report.definition,
            account_id=report.account_id,
            window=window,
            delay_index=report.delay_index,
            split_path=split_path,
        ),
        definition=report.definition,
        product=report.product,
        account_id=report.account_id,
        include_subaccounts=report.include_subaccounts,
        filters=report.filters,
        window=window,
        revision=report.revision,
        priority=Priority.HALF,
        planned_at=now,
        delay_index=report.delay_index,
        delay_days=report.delay_days,
        revisions=report.revisions,
        expected_rows=None if report.expected_rows is None else profile.rows,
        pace=report.pace,
        profile=report.profile and profile,
        max_records=report.max_records,
        currency=report.currency,
        backfill=report.backfill,
        root=report.root or report.report_id,
        split_path=split_path,
    )
