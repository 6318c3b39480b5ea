"""Plan: write every due window into the ledger."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from math import inf

from vonage_reports.aws.ledger import Change, VersionConflict
from vonage_reports.aws.ledger_items import Calendar, OpenWork, StoppedPlanning
from vonage_reports.domain import notifications
from vonage_reports.domain.calendar import (
    Delays,
    Due,
    by_definition,
    due_reports,
    first_unplanned,
    relabelling_of,
    seen_delays,
    where_finals_begin,
)
from vonage_reports.domain.commands import command_for
from vonage_reports.domain.definitions import Refusal, ReportDefinition, change_of
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.lifecycle import Plan, Replan, apply
from vonage_reports.domain.products import oldest_start
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.windows import Window, format_instant
from vonage_reports.submit_reports.context import Invocation, Services, StepResult
from vonage_reports.submit_reports.execute import collect_errors
from vonage_reports.submit_reports.read_definitions import EVERY_DEFINITION

_CLOCK_DIFFERENCE = timedelta(minutes=5)
"""How far the schedule's clock may be ahead of the function's clock."""

MOST_OPEN = 5_000
"""How many reports may be open before planning stops.

Each pass reads all open reports, and again after each step that wrote. A read of 5,000 takes 26 MB
and half a second of CPU time (`make bench PART=ledger`), so 2 seconds in a function of 512 MB. Five
slots need more than half a day for 5,000 reports, so a higher limit would deliver nothing earlier.
"""

_TOO_MANY_OPEN = (
    f"no more windows are planned while {MOST_OPEN:,} reports are open. Vonage makes at most 5 at "
    "a time. Find the cause with `vonage-reports status`, or use longer windows"
)
_NO_TIME = (
    "the invocation's time was over before all windows were planned. The next scheduled run goes "
    "on. If this repeats, use longer windows or fewer accounts"
)

_NOTHING = OpenWork((), {}, frozenset())
_ENDLESS = Invocation("", lambda: inf)


def plan(
    definitions: Sequence[ReportDefinition],
    services: Services,
    *,
    at: datetime,
    now: datetime,
    work: OpenWork = _NOTHING,
    invocation: Invocation = _ENDLESS,
    calendar: Calendar | None = None,
) -> StepResult:
    """Plan the windows that are due at `at`, the schedule's time. Return windows and refusals.

    Refuses a definition that changed under its name, and windows that became due more than 7 days
    ago. An error of one definition does not stop the other definitions.

    `work` and `calendar` are the ledger's, if the caller has read them.

    Stops when too many reports are open or the time is up, and refuses the rest. The next run goes
    on at the definition where this run stopped, and no window becomes late meanwhile.

    Writes windows before the cursor. So if an invocation dies in between, the next one catches up.

    A definition's delays may change. Reports that are planned already are collected as planned: a
    final with the former delay stays the final revision of its window. Preliminary revisions that
    are final with the new delays are left to `relabel`, which collects nothing again.

    Raises InvalidRequest if `at` is in the future, or so old that Vonage has deleted the records.
    """
    require_records(at, now)
    calendar = calendar or services.ledger.calendar()
    cursors_of = by_definition(calendar.cursors)
    result, limits = StepResult(), _Limits(MOST_OPEN - len(work.reports), invocation)
    stopped, stopped_at = work.planning_stopped, None
    for definition in _in_turn(definitions, stopped):
        changed = change_of(definition, calendar.collects.get(definition.name))
        if changed is not None:
            result.refusals.append(changed)
            with collect_errors(result.errors):
                announce_refusals([changed], work.announced, services)
            continue
        cursors = cursors_of.get(definition.name, {})
        with collect_errors(result.errors):
            calendar.require_readable(definition.name)
            _plan_definition(
                definition,
                calendar,
                result,
                services,
                cursors=cursors,
                limits=limits,
                work=work,
                at=at,
                now=now,
            )
        if limits.reason and stopped_at is None:
            stopped_at = definition.name
    with collect_errors(result.errors):
        if stopped_at is not None:
            since = at if stopped is None else min(at, stopped.since)
            services.ledger.stop_planning(StoppedPlanning(since, stopped_at))
            refusal = Refusal(EVERY_DEFINITION, "planning", limits.reason)
            result.refusals.append(refusal)
            announce_refusals([refusal], work.announced, services)
        elif stopped is not None and not result.errors:
            services.ledger.resume_planning()
    return result


@dataclass
class _Limits:
    """How many more reports this run may plan, and the reason for stopping, once it stopped."""

    room: int
    invocation: Invocation
    reason: str = ""

    def allow_time(self) -> bool:
        """Whether there is time to plan. If not, note the reason."""
        has_time = self.invocation.has_time_to_plan()
        if not has_time:
            self.reason = _NO_TIME
        return has_time

    def allow_one_more(self) -> bool:
        """Whether one more window may be planned. If not, note the reason."""
        if self.room <= 0:
            self.reason = _TOO_MANY_OPEN
        return not self.reason and self.allow_time()


class _KnownReports:
    """The ledger's reports of one definition. Reads each window once, for all accounts."""

    def __init__(self, definition: str, services: Services) -> None:
        self._definition = definition
        self._ledger = services.ledger
        self._windows: set[Window] = set()
        self._reports: dict[tuple[str, Window], list[Report]] = {}
        self.unreadable: set[str] = set()

    def read(self, start: datetime, end: datetime) -> Sequence[Report]:
        """Read the reports whose windows start in [`start`, `end`)."""
        reports, unreadable = self._ledger.reports_between(self._definition, start, end)
        self.unreadable |= unreadable
        for each in reports:
            self._of(each).append(each)
        return reports

    def like(self, report: Report) -> list[Report]:
        """Return the reports of a report's account and window. Add the report once planned."""
        window = report.window
        if window not in self._windows:
            self._windows.add(window)
            # Forget its reports, because a read of another range may have returned them too.
            self._reports = {
                key: reports for key, reports in self._reports.items() if key[1] != window
            }
            self.read(window.start, window.end)
        return self._of(report)

    def _of(self, report: Report) -> list[Report]:
        return self._reports.setdefault((report.account_id.lower(), report.window), [])


def _in_turn(
    definitions: Sequence[ReportDefinition], stopped: StoppedPlanning | None
) -> Sequence[ReportDefinition]:
    """Return the definitions, beginning with the one at which planning stopped, if any."""
    names = [each.name for each in definitions]
    if stopped is None or stopped.definition not in names:
        return definitions
    first = names.index(stopped.definition)
    return (*definitions[first:], *definitions[:first])


def _plan_definition(
    definition: ReportDefinition,
    calendar: Calendar,
    result: StepResult,
    services: Services,
    *,
    cursors: Mapping[tuple[str, str, int], datetime],
    limits: _Limits,
    work: OpenWork,
    at: datetime,
    now: datetime,
) -> None:
    """Plan one definition's due windows, and record its delays if they changed."""
    if not limits.allow_time():
        return
    delays = calendar.delays.get(definition.name)
    collected = calendar.collects.get(definition.name)
    is_changed = collected is not None and (delays is None or [*delays] != [*definition.delay_days])
    # Begin a new definition even if no more reports may be planned.
    _begin(definition, services, cursors=cursors, delays=delays, collected=collected, at=at)
    if limits.reason:
        return
    # Only the ledger knows how earlier rules of a time zone cut windows that an earlier revision
    # has, and which windows have the revision that is final now.
    since = first_unplanned(definition, cursors, delays)
    known = _KnownReports(definition.name, services)
    there: Sequence[Report] = ()
    if since is not None and (is_changed or definition.time_zone != "UTC"):
        there = known.read(since, at)
    windows = defaultdict(list)
    for report in there:
        windows[report.account_id.lower()].append(report.window)
    for due in due_reports(
        definition,
        cursors=cursors,
        volumes=calendar.volumes,
        profiles=calendar.profiles,
        paces=calendar.paces,
        at=at,
        now=now,
        delays=delays,
        planned=windows,
        stopped_since=None if work.planning_stopped is None else work.planning_stopped.since,
    ):
        if limits.reason:
            return
        left = _without(there, due) if is_changed else due
        _plan_due(
            definition, left, result, services, known=known, limits=limits, work=work, now=now
        )
    if collected is not None and is_changed and not limits.reason:
        # If an invocation dies before, the next one plans the same windows, which are there.
        relabelling = relabelling_of(definition, cursors, delays)
        seen = seen_delays(definition, delays, at)
        services.ledger.record_delays(definition, seen, relabelling, collected=collected)


def _begin(
    definition: ReportDefinition,
    services: Services,
    *,
    cursors: Mapping[tuple[str, str, int], datetime],
    delays: Delays | None,
    collected: str | None,
    at: datetime,
) -> None:
    """Record a new definition, and the first cursor of each new revision that needs one now."""
    final = definition.delay_days[-1]
    if collected is None:
        services.ledger.record_collects(definition)
    for account_id, delay_days, begin in where_finals_begin(definition, cursors, at, delays):
        services.ledger.move_cursor(definition.name, account_id, delay_days, begin)
    if collected is not None and delays is not None and max(delays) < final:
        # Record a longer final delay before planning moves the cursor of the former final, from
        # which the new final's cursor was derived.
        seen = seen_delays(definition, delays, at)
        services.ledger.record_delays(definition, seen, None, collected=collected)


def _without(known: Iterable[Report], due: Due) -> Due:
    """Return the due reports without those that the ledger has, or a later revision of them."""
    there = {
        (report.account_id.lower(), report.window)
        for report in known
        if report.delay_days >= due.delay_days and not _ended_as(MISSING, report)
    }
    account = due.account_id.lower()
    left = [each for each in due.reports if (account, each.window) not in there]
    return replace(due, reports=tuple(left))


def _plan_due(
    definition: ReportDefinition,
    due: Due,
    result: StepResult,
    services: Services,
    *,
    known: _KnownReports,
    limits: _Limits,
    work: OpenWork,
    now: datetime,
) -> None:
    if due.late:
        late = _too_late(definition, due, now)
        result.refusals.append(late)
        # Announce before the cursor passes these windows, because no later pass finds them late.
        announce_refusals([late], work.announced, services)
    seen_to = due.late[-1:]
    for report in due.reports:
        if not limits.allow_one_more():
            break
        planned = _plan_one(report, known, services)
        if planned is PlanOutcome.NOT_NOW:
            break
        if planned is PlanOutcome.NEW:
            limits.room -= 1
            result.report_ids.append(report.report_id)
        seen_to = (report.window,)
    for window in seen_to:
        services.ledger.move_cursor(definition.name, due.account_id, due.delay_days, window.end)


class PlanOutcome(Enum):
    """The result of planning a due window."""

    NEW = "planned now"
    THERE = "planned or collected before, perhaps by another version of this code"
    NOT_NOW = "an earlier revision with the same report_id is unfinished"


MISSING = frozenset({State.FAILED, State.CANCELLED, State.SUPERSEDED})
"""The final states of a window that was not delivered."""


_LEFT_TO_THE_CALENDAR = frozenset({State.CANCELLED})
"""The calendar plans a window again after its backfill was cancelled."""


def _plan_one(report: Report, known: _KnownReports, services: Services) -> PlanOutcome:
    """Plan a report, unless its window is planned. Add a new report to the `known` reports."""
    of_window = known.like(report)
    if report.report_id in known.unreadable:
        return PlanOutcome.THERE
    change = plan_change(report, of_window, again=_LEFT_TO_THE_CALENDAR)
    if isinstance(change, PlanOutcome):
        return change
    try:
        of_window.append(services.ledger.write(*change))
    except VersionConflict:
        # Another invocation changed the window. If no report was planned, the next pass plans it.
        found = services.ledger.report(report.report_id)
        is_left = found is None or _ended_as(_LEFT_TO_THE_CALENDAR, found)
        return PlanOutcome.NOT_NOW if is_left else PlanOutcome.THERE
    return PlanOutcome.NEW


def plan_change(
    report: Report, known: Iterable[Report], *, again: frozenset[State] = frozenset()
) -> Change | PlanOutcome:
    """Return the change that plans a report, or the reason for planning nothing.

    A window is planned again if it finished in one of the states `again`, or if it was collected
    with a shorter delay, unless that became its final revision. After a change of `delay_days`, a
    report_id may belong to another revision, and a revision may have another report_id.

    Args:
        report: The report as the definition plans it now.
        known: Reports of the ledger, including every report of this window and account.
        again: The final states after which a window is planned again.
    """
    revisions = [
        each
        for each in known
        if (each.account_id.lower(), each.window) == (report.account_id.lower(), report.window)
    ]
    before = next((each for each in revisions if each.report_id == report.report_id), None)
    for other in revisions:
        is_as_late = other is not before and other.delay_days >= report.delay_days
        if (is_as_late or other.relabelled) and not _ended_as(MISSING, other):
            return PlanOutcome.THERE
    if before is None:
        return None, apply(None, Plan(report), now=report.planned_at)
    is_later = before.delay_days < report.delay_days
    is_left = before.state in (State.PLANNED, State.SPLIT)
    if is_left and before.backfill and report.backfill is None:
        # The calendar needs the window too, so cancelling the backfill must not withdraw it.
        return before, replace(before, priority=report.priority, backfill=None)
    if not before.is_at_end:
        return PlanOutcome.NOT_NOW if is_later else PlanOutcome.THERE
    if before.withdrawn_at is not None or (not is_later and not _ended_as(again, before)):
        return PlanOutcome.THERE
    return before, replace(
        apply(before, Replan(), now=report.planned_at),
        priority=report.priority,
        backfill=report.backfill,
        revision=report.revision,
        delay_days=report.delay_days,
        revisions=report.revisions,
        expected_rows=report.expected_rows,
        pace=report.pace,
        profile=report.profile,
        max_records=report.max_records,
        currency=report.currency,
    )


def _ended_as(ends: frozenset[State], report: Report) -> bool:
    """Whether a report finished in one of these states without a delivery.

    The operator does not want a withdrawn window: only `recollect` plans it again. A report with
    rows was delivered, even if a later reconversion failed.
    """
    return report.state in ends and report.rows is None and report.withdrawn_at is None


def require_records(at: datetime, now: datetime) -> None:
    """Raise InvalidRequest for a schedule of the future, or one whose records Vonage deleted."""
    if at > now + _CLOCK_DIFFERENCE:
        raise InvalidRequest(
            f"scheduled_time {format_instant(at)} is in the future. Send the present time"
        )
    if at < oldest_start("", now):
        raise InvalidRequest(
            f"scheduled_time {format_instant(at)} is too old: Vonage keeps records for 13 months"
        )


def require_unchanged(definition: ReportDefinition, services: Services) -> None:
    """Raise InvalidRequest if a definition changed under its name."""
    collected = services.ledger.calendar().collects.get(definition.name)
    changed = change_of(definition, collected)
    if changed is not None:
        raise InvalidRequest(f"{changed.definition}, {changed.field}: {changed.reason}")


def _too_late(definition: ReportDefinition, due: Due, now: datetime) -> Refusal:
    first, last = due.late[0], due.late[-1]
    is_closed = definition.has_closed(due.account_id)
    named = due.account_id if is_closed else None
    command = command_for(
        notifications.backfill_event(definition.name, first, last, account_id=named)
    )
    owner = f" They belong to {due.account_id}, a closed or suspended sub-account."
    is_deleted = first.start < oldest_start(definition.product, now)
    return Refusal(
        definition.name,
        "window",
        f"{len(due.late)} windows from {first.first_date} to {last.first_date} became due more "
        f"than 7 days ago.{owner if is_closed else ''} Collect them with `{command}`"
        + (
            ". Vonage has deleted the records of the oldest ones, which cannot be collected"
            if is_deleted
            else ""
        ),
    )


def announce_refusals(
    refusals: Sequence[Refusal], announced: frozenset[str], services: Services
) -> None:
    """Announce each refusal that is not announced yet."""
    for cause, refusal in {_cause(each): each for each in refusals}.items():
        if cause not in announced:
            services.topic.announce(notifications.refused(refusal))
            services.ledger.mark_announced(cause)


def clear_resolved_refusals(
    refusals: Sequence[Refusal], announced: frozenset[str], services: Services
) -> None:
    """Clear refusals that no longer occur, so that a recurrence is announced."""
    causes = {_cause(each) for each in refusals}
    for cause in sorted(announced):
        if cause.startswith("refused#") and cause not in causes:
            services.ledger.clear_announced(cause)


def _cause(refusal: Refusal) -> str:
    """Return a short name of a refusal. DynamoDB limits a sort key to 1,024 bytes."""
    text = json.dumps(refusal.to_dict(), sort_keys=True)
    return f"refused#{hashlib.sha256(text.encode()).hexdigest()[:16]}"
