"""The preview of each event of an operator: its subject, and the cost so far and to come.

It reads the ledger and asks submit_reports for the outlook (`dry_run`). It changes nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from vonage_reports.aws.ledger_items import OpenWork, UnreadableItem
from vonage_reports.domain.backfill import Backfill
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.products import billed_records
from vonage_reports.domain.report import Report, State, report_id
from vonage_reports.domain.report_at_vonage import sought
from vonage_reports.domain.slots import SLOTS, may_be_submitted
from vonage_reports.domain.windows import format_instant, parse_instant
from vonage_reports.submit_reports.plan import require_records
from vonage_reports.submit_reports.split_windows import parts_of
from vonage_reports.submit_reports.withdraw import withdrawable
from vonage_reports_cli.acting import Action, Refused, Step, cost, known_report
from vonage_reports_cli.definitions import checked, known_api_key
from vonage_reports_cli.errors import CommandError, Exit, NoAccess
from vonage_reports_cli.estimate import Total, count, due, late, lines_of
from vonage_reports_cli.outlook import described, left_out
from vonage_reports_cli.stack import DeployedStack
from vonage_reports_cli.status.model import advance_of


def step_for(stack: DeployedStack, event: Mapping[str, Any]) -> Step:
    """Return an event of an operator with its preview, or why it would be refused.

    Raises NoAccess, and botocore's errors.
    """
    key = next(iter(event), "")
    make = _PREVIEWS.get(key)
    if make is None or len(event) != 1:
        return Refused(key, f"{key or 'the event'}: submit_reports has no such event")
    value = event[key]
    subject = _subject(value) or key
    if isinstance(value, Mapping) and value.get("dry_run"):
        return Action(event, [f"the outlook of {key} {subject}, which changes nothing"], 0)
    try:
        return make(stack, value)
    except NoAccess:
        raise
    except CommandError as error:
        return Refused(subject, str(error), error.code)
    except UnreadableItem as error:
        return Refused(subject, str(error), Exit.ATTENTION)


def _subject(value: object) -> str | None:
    if not isinstance(value, Mapping):
        return None
    names = (value.get(name) for name in ("report_id", "backfill", "definition"))
    return next((each for each in names if isinstance(each, str)), None)


_SHORTEST_DAY = 23
"""Hours of the local day on which a clock is put forward."""


def window_of(report: Report) -> str:
    """Describe a report's window, such as `SMS of abcd1234, 2026-11-19`."""
    part = f", a part of {report.window.hours:g} h" if report.is_half else ""
    first = report.window.first_date
    is_day = report.window.hours >= _SHORTEST_DAY
    start = str(first) if is_day else format_instant(report.window.start)
    return f"{report.product} of {report.account_id}, {start}{part}"


def title(report: Report) -> list[str]:
    """Return the first lines of a report's preview. The report_id alone fits 80 columns."""
    request = f", request {report.request_id}" if report.request_id and not report.is_at_end else ""
    return [report.report_id, f"  {window_of(report)}, {report.state.value}{request}"]


def billed(stack: DeployedStack, reports: Sequence[Report]) -> str:
    """Describe the records that Vonage has billed for reports, as far as the ledger knows.

    A report's earlier requests count with the rows of its last one.
    """
    asked_for = [each for each in reports if each.attempt > 0]
    known = [billed_records(each.product, _rows(each)) for each in asked_for]
    sizes = [
        size * each.attempt for size, each in zip(known, asked_for, strict=True) if size is not None
    ]
    records = sum(sizes) if len(sizes) == len(asked_for) else None
    requests = sum(each.attempt for each in asked_for)
    said = f"{cost(stack, records)}, in {count(requests, 'request')}" if requests else "nothing"
    if any(each.state in (State.HELD, State.SUBMITTING) for each in reports):
        said += ", apart from a request without an answer"
    return f"billed so far: {said}"


def _rows(report: Report) -> int | None:
    return report.expected_rows if report.rows is None else report.rows


def _going_to_bill(stack: DeployedStack, records: int | None) -> str:
    return f"  this is going to bill {cost(stack, records)}"


def _below_cap(outlook: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line on the month's cap, if there is one."""
    # Functions of an earlier version know no cap.
    left = outlook.get("records_left_this_month")
    if left is not None:
        yield f"  MaxBilledRecordsMonth leaves {count(left, 'record')} this month (UTC)"


def of_one_window(stack: DeployedStack, report: Report) -> list[Report]:
    """Return a report, the other revisions of its window, and their parts."""
    if report.is_half:
        return [report]
    others = (
        stack.ledger.report(
            report_id(
                definition=report.definition,
                account_id=report.account_id,
                window=report.window,
                delay_index=index,
            )
        )
        for index in range(report.revisions)
        if index != report.delay_index
    )
    whole = [report, *(each for each in others if each is not None)]
    split = [each for each in whole if each.state is State.SPLIT or each.leaves > 1]
    now = datetime.now(UTC)
    return whole + [part for each in split for part in parts_of(each, stack.ledger, now=now) or []]


def _recollect(stack: DeployedStack, value: Mapping[str, Any]) -> Step:
    report = known_report(stack, value["report_id"])
    so_far = billed(stack, of_one_window(stack, report))
    if value.get("token") in report.tokens:
        done = "was carried out already, and buys nothing more"
        return Action({"recollect": value}, [*title(report), f"  {so_far}", f"  this {done}"], 0)
    if not report.is_at_end:
        return Refused(
            report.report_id,
            f"{report.report_id} is {report.state.value}, which is unfinished. Nothing is bought "
            f"again before its end",
        )
    asked = {"report_id": report.report_id, "dry_run": True}
    outlook = stack.send({"recollect": asked})["dry_run"]
    records = outlook["expected_billed_records"]
    lines = [*title(report), f"  {so_far}", _going_to_bill(stack, records), *_below_cap(outlook)]
    return Action({"recollect": value}, lines, records)


def _reconvert(stack: DeployedStack, value: Mapping[str, Any]) -> Step:
    report = known_report(stack, value["report_id"])
    return reconversion(report, value, so_far=billed(stack, of_one_window(stack, report)))


def reconversion(report: Report, value: Mapping[str, Any], *, so_far: str) -> Step:
    """Return the reconversion of a known report, or why it is refused."""
    name = report.report_id
    if report.is_half:
        return Refused(name, f"{name} is a part. Reconvert its window, {report.root}")
    if not report.is_at_end:
        return Refused(name, f"{name} is {report.state.value}, which is unfinished. It converts")
    if report.request_id is None and not (report.receipts or report.delivered_from):
        return Refused(name, f"{name} was never requested, so no archive of it is stored")
    accept = value.get("accept") or ()
    lines = [*title(report), f"  {so_far}", "  this is free"]
    if accept:
        lines.append(f"  delivers the window with these imperfections: {', '.join(accept)}")
    not_again = [str(each) for each in report.accept if each not in accept]
    if not_again and report.state is State.DELIVERED:
        lines.append(
            f"  it was delivered with {', '.join(not_again)} accepted, and fails without --accept "
            f"{','.join(not_again)} if the archive still has that"
        )
    return Action({"reconvert": value}, lines, 0)


def _resolve(stack: DeployedStack, value: Mapping[str, Any]) -> Step:
    report = known_report(stack, value["report_id"])
    name, hold = report.report_id, value.get("hold")
    if report.state is not State.HELD:
        return Refused(
            name, f"{name} is {report.state.value}, not held. There is nothing to answer"
        )
    if hold is not None and hold != report.holds:
        return Refused(
            name,
            f"hold {hold} of {name} is over, and the report is held again: look in Vonage's "
            f"dashboard again for {sought(report)}, then answer with --hold {report.holds}",
        )
    lines = [
        *title(report),
        f"  held for the {_ordinal(report.holds)} time: {report.reason}",
        f"  the dashboard would show it as {sought(report)}",
    ]
    so_far = billed(stack, of_one_window(stack, report))
    if value["request_id"] is not None:
        lines += [
            f"  goes on with Vonage's request {value['request_id']}, which submit_reports checks",
            f"  {so_far}",
            "  this is free, because Vonage has billed that request",
        ]
        return Action({"resolve": value}, lines, 0)
    records = billed_records(report.product, report.expected_rows)
    lines += [
        "  requests the window again. If Vonage has the held request after all, it bills both",
        f"  {so_far}",
        _going_to_bill(stack, records),
    ]
    return Action({"resolve": value}, lines, records)


def _ordinal(number: int) -> str:
    endings = {1: "st", 2: "nd", 3: "rd"}
    is_teen = number % 100 // 10 == 1
    return f"{number}{'th' if is_teen else endings.get(number % 10, 'th')}"


def _withdraw(stack: DeployedStack, value: Mapping[str, Any]) -> Step:
    report = known_report(stack, value["report_id"])
    name = report.report_id
    if report.is_half:
        return Refused(name, f"{name} is a part. Withdraw its window, {report.root}")
    if report.state is State.CANCELLED and report.withdrawn_at is not None:
        return Refused(name, f"{name}: is withdrawn already", Exit.DONE)
    if report.is_at_end and report.state is not State.FAILED:
        return Refused(name, f"{name} is {report.state.value}, which is finished")
    if report.state is State.CONVERTING:
        return Refused(name, f"{name} is stored already, and Vonage is asked for nothing more")
    lines = [
        *title(report),
        f"  {_AFTER_WITHDRAWAL[report.state]}",
        *(["  the earlier delivery stays"] if report.delivered_from else []),
        f"  {billed(stack, of_one_window(stack, report))}",
        "  this is free",
    ]
    return Action({"withdraw": value}, lines, 0)


def _withdraw_windows(stack: DeployedStack, value: Mapping[str, Any]) -> Step:
    definition, account_id = value["definition"], value["account_id"]
    dates = date.fromisoformat(value["start"]), date.fromisoformat(value["end"])
    of_account = f"{definition}, {account_id}"
    try:
        found, unreadable = withdrawable(definition, account_id, dates, stack.ledger)
    except InvalidRequest as error:
        return Refused(of_account, str(error))
    if not found:
        reason = f"{of_account}: no open or failed report from {dates[0]} until {dates[1]}"
        if unreadable:
            return Refused(of_account, f"{reason}. But {unreadable}", Exit.ATTENTION)
        return Refused(of_account, reason, Exit.DONE)
    first, last = found[0].window.first_date, found[-1].window.first_date
    counts = Counter(each.state for each in found)
    so_far = billed(stack, found)
    lines = [
        f"{of_account}: {count(len(found), 'report')} of windows from {first} to {last}",
        *(
            f"  {number:,} {state.value}, for each: {_AFTER_WITHDRAWAL[state]}"
            for state, number in counts.items()
        ),
        f"  {so_far}",
        "  this is free",
        *([f"  {unreadable}"] if unreadable else []),
    ]
    names = frozenset(each.report_id for each in found)
    return Action({"withdraw_windows": value}, lines, 0, reports=names)


_AFTER_WITHDRAWAL: Mapping[State, str] = {
    State.PLANNED: "ends now, and Vonage is not asked for it",
    State.SUBMITTING: (
        "ends now. If Vonage has taken the request, it bills it, and the slot stays taken for a day"
    ),
    State.SUBMITTED: (
        "Vonage is asked to stop it. If Vonage has finished it, it is billed, and is delivered as "
        "ever"
    ),
    State.HELD: (
        "ends now. If Vonage has the request, it has billed it, and the slot stays taken for a day"
    ),
    State.FAILED: "counts as failed no more, and its window not as missing",
    State.SPLIT: "its parts end where Vonage has not finished them; what Vonage took is billed",
}


_OF_A_BACKFILL = ("definition", "start", "end", "account_id")
_MOST_CLOSED = 5
"""How many closed accounts the preview of a backfill names. The answer to its dry run has all."""


def _backfill(stack: DeployedStack, value: Mapping[str, Any]) -> Step:
    account_id = value.get("account_id")
    asked = {each: value[each] for each in _OF_A_BACKFILL if each in value}
    outlook = stack.send({"backfill": {**asked, "dry_run": True}})["dry_run"]
    name, windows = outlook["backfill"], outlook["windows"]
    running = {each.name: each for each in stack.ledger.open_work().backfills}
    if name in running and not value.get("confirm"):
        return Refused(
            name,
            f"backfill {name}: runs already. {_progress(stack.ledger.open_work(), running[name])}",
            Exit.DONE,
        )
    if outlook["reports"] == 0:
        return Refused(
            name,
            f"backfill {name}: all of its {count(len(windows), 'window')} are delivered or under "
            "way, so nothing is requested",
            Exit.DONE,
        )
    start, end = windows[-1].partition("/")[0], windows[0].partition("/")[2]
    known, _ = stack.ledger.reports_between(
        value["definition"], parse_instant(start), parse_instant(end)
    )
    if account_id is not None:
        known = [each for each in known if each.account_id.lower() == account_id.lower()]
    records = outlook["expected_billed_records"]
    # Functions of an earlier version name none.
    closed = outlook.get("closed_accounts", ())
    lines = [
        f"backfill {name}: {count(len(windows), 'window')}, from {start} to {end}",
        f"  requests {count(outlook['reports'], 'report')} from Vonage, newest first",
        f"  {billed(stack, known)}",
        _going_to_bill(stack, records),
        *_below_cap(outlook),
        *(
            f"  leaves out {each}, which is closed or suspended; --account {each} collects it"
            for each in closed[:_MOST_CLOSED]
        ),
    ]
    if len(closed) > _MOST_CLOSED:
        lines.append(f"  and leaves out {len(closed) - _MOST_CLOSED:,} more such accounts")
    if outlook["skipped"]:
        lines.insert(2, f"  leaves out {outlook['skipped']:,} that are delivered or under way")
    return Action({"backfill": value}, lines, records)


def _progress(work: OpenWork, backfill: Backfill) -> str:
    advance = advance_of(backfill, work.reports)
    return (
        f"{advance.over:,} of {count(advance.total, 'window')} are over, "
        f"{advance.under_way:,} under way"
    )


def _cancel(stack: DeployedStack, value: Mapping[str, Any]) -> Step:
    name, work = value["backfill"], stack.ledger.open_work()
    running = {each.name: each for each in work.backfills}
    backfill = running.get(name)
    if backfill is None:
        ended = {each.name: each for each in stack.ledger.ended_backfills([])}
        backfill = ended.get(name)
    if backfill is None:
        names = ", ".join(running) or "none"
        return Refused(name, f"there is no backfill {name!r}. Running backfills: {names}")
    reports = [each for each in work.reports if each.backfill == name and not each.is_half]
    waiting = sum(
        each.state is State.PLANNED and each.attempt == each.attempts_before for each in reports
    )
    if name not in running and not waiting:
        done = "is over already"
        if reports:
            done = (
                f"all of its windows are requested, and {count(len(reports), 'report')} still in "
                "flight; `withdraw ID` ends one of them, and `status` names them"
            )
        return Refused(name, f"backfill {name}: {done}", Exit.DONE)
    left = sum(1 for _ in backfill.left()) if name in running else 0
    in_flight = len(reports) - waiting
    lines = [
        f"backfill {name}: {_progress(work, backfill)}",
        f"  {count(left, 'window')} are not planned any more",
        f"  {count(waiting, 'report')} not requested from Vonage yet end as CANCELLED",
        f"  {count(in_flight, 'report')} in flight are finished, and are billed",
        "  this is free",
    ]
    return Action({"cancel": value}, lines, 0)


def _sweep(stack: DeployedStack, value: object) -> Step:
    work = stack.ledger.open_work()
    now = datetime.now(UTC)
    waiting = [each for each in work.reports if may_be_submitted(each, now)]
    free = len(SLOTS) - len(work.slots)
    room = min(free, len(waiting))
    records = _most_records(waiting, room)
    requests = count(room, "report")
    if work.backfills and free > 0:
        records = None
        requests += f" and windows of {count(len(work.backfills), 'backfill')}"
    effect = [f"requests {requests}, as the next sweep would"]
    if pause := list(_pause(work, now)):
        records, effect = 0, pause
    later = [
        each.not_before
        for each in work.reports
        if each.state is State.PLANNED and each.not_before is not None and each.not_before > now
    ]
    if later:
        wait = "waits" if len(later) == 1 else "wait"
        effect.append(
            f"{count(len(later), 'other report')} {wait} at least until "
            f"{format_instant(min(later))}, after an answer of Vonage"
        )
    opened = count(len(work.reports), "report")
    lines = [
        f"{opened} open, {len(waiting):,} waiting, {count(free, 'slot')} free",
        *(f"  {each}" for each in effect),
        _going_to_bill(stack, records),
    ]
    return Action({"sweep": value}, lines, records)


def _pause(work: OpenWork, now: datetime) -> Iterator[str]:
    """Say until when nothing is requested, if Vonage asked for a pause (429)."""
    if work.paused_until is not None and work.paused_until > now:
        yield (
            f"requests nothing before {format_instant(work.paused_until)}: Vonage asked to pause "
            "all requests"
        )


def _most_records(reports: Iterable[Report], number: int) -> int | None:
    """Return how many records the largest reports bill, None if one of them is unknown."""
    sizes = [billed_records(each.product, each.expected_rows) for each in reports]
    known = sorted((each for each in sizes if each is not None), reverse=True)
    return None if number > 0 and len(known) < len(sizes) else sum(known[:number])


def _scheduled(stack: DeployedStack, value: str) -> Step:
    at, now = datetime.fromisoformat(value), datetime.now(UTC)
    try:
        require_records(at, now)
    except InvalidRequest as error:
        return Refused("scheduled_time", str(error))
    written = stack.definitions.read()
    work, calendar = stack.ledger.open_work(), stack.ledger.calendar()
    found = checked(written, work, calendar, api_key=known_api_key(written, calendar))
    lines = lines_of(due(found.definitions, calendar, work, at=at, now=now))
    total = Total.of(lines)
    preview = [
        *described(lines, stack.price),
        *(f"refused: {each.definition}, {each.field}: {each.reason}" for each in found.refusals),
        *left_out(late(found.definitions, calendar, at=at, now=now)),
        f"in all {total.words(stack.price)}" if lines else "no report is due",
        *_already_waiting(stack, work, now),
        *_pause(work, now),
    ]
    return Action({"scheduled_time": value}, preview, None if total.unknown else total.records)


def _already_waiting(stack: DeployedStack, work: OpenWork, now: datetime) -> Iterator[str]:
    """Describe the planned reports, which each pass requests. They are no part of the total."""
    waiting = [each for each in work.reports if may_be_submitted(each, now)]
    if waiting:
        number = count(len(waiting), "report")
        wait, they = ("waits", "it bills") if len(waiting) == 1 else ("wait", "they bill")
        records = _most_records(waiting, len(waiting))
        yield (
            f"besides, requests {number} that {wait} already, as the next sweep would; "
            f"{they} {cost(stack, records)}"
        )


_PREVIEWS: Mapping[str, Callable[[DeployedStack, Any], Step]] = {
    "recollect": _recollect,
    "reconvert": _reconvert,
    "resolve": _resolve,
    "withdraw": _withdraw,
    "withdraw_windows": _withdraw_windows,
    "backfill": _backfill,
    "cancel": _cancel,
    "sweep": _sweep,
    "scheduled_time": _scheduled,
}
