"""The promises that every outcome must keep, under any fault."""

import base64
import csv
import hashlib
import io
import json
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import pyarrow.parquet as pq

from local.simulator import control
from local.simulator.reports import FILE_LIFETIME
from local.simulator.reports import Report as AtVonage
from tests.chaos.campaign import API_KEY, NEW_ACCOUNT, OTHER_KEY, SUBACCOUNT, Outcome, listed_pairs
from tests.chaos.periods import days_of, key_of, last_number, untrue, waits_for
from tests.chaos.s3 import Objects, read_json
from vonage_reports.domain.calendar import due_windows
from vonage_reports.domain.catalogue import table_name
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.report import Report, Revision, State
from vonage_reports.domain.splitting import MAX_LEAVES
from vonage_reports.domain.subaccounts import Span
from vonage_reports.domain.waits import NOT_FOUND_PATIENCE
from vonage_reports.domain.windows import Window, windows_ending_after
from vonage_reports.submit_reports.read_definitions import parse_definitions
from vonage_reports.submit_reports.requests import parse_event

_KEYS = (API_KEY, SUBACCOUNT, NEW_ACCOUNT, OTHER_KEY)
"""The accounts that Vonage knows."""

Key = tuple[str, str, datetime, datetime]
"""A report at Vonage: product, account, start and end."""


def broken(outcome: Outcome) -> list[str]:
    """Return a sentence for every broken promise."""
    return [sentence for check in _CHECKS for sentence in check(outcome)]


def _everything_is_finished(outcome: Outcome) -> Iterator[str]:
    work = outcome.open_work
    if not outcome.at_rest:
        states = Counter(report.state.value for report in work.reports)
        yield f"days after the last fault, reports are unfinished: {dict(states)}"
    for report in work.reports:
        yield f"{report.report_id} is still open: {report.state}, {report.error}: {report.reason}"
    if work.slots:
        yield f"slots are still taken: {dict(work.slots)}"
    if work.backfills or work.relabellings or work.unreadable:
        yield f"still in the ledger: {work.backfills} {work.relabellings} {work.unreadable}"
    if work.registrations:
        yield f"{len(work.registrations)} deliveries still wait for the catalogue"


def _every_due_window_is_delivered_or_announced(outcome: Outcome) -> Iterator[str]:
    known = {
        (each.definition, each.account_id, each.delay_days, each.window): each
        for each in outcome.reports
        if not each.is_half
    }
    for name, account_id, delay_days, window in _due(outcome):
        # If a later revision was planned first, the earlier one would only cost money. A window
        # that was collected as final is not collected again with a longer delay.
        if not any(
            (*key[:2], key[3]) == (name, account_id, window)
            and (key[2] >= delay_days or report.revision is Revision.FINAL)
            for key, report in known.items()
        ) and not _is_told_as_too_late(name, window, outcome):
            yield f"{name} of {account_id}, {window.interval} + {delay_days}: never planned"
    for report in known.values():
        yield from _delivered_or_announced(report, outcome)


def _is_told_as_too_late(name: str, window: Window, outcome: Outcome) -> bool:
    """Whether the calendar could not plan a window for seven days, and told so."""
    told = [
        re.search(r"windows from (\S+) to (\S+) became due", message["message"])
        for message in outcome.aws.messages
        if (message["event"], message.get("definition")) == ("definition.refused", name)
    ]
    return any(found and found[1] <= f"{window.first_date}" <= found[2] for found in told)


def _has_a_next_run(planned: tuple[tuple[str, str, int], Sequence[Any]]) -> bool:
    """Whether a later run plans a window that a conflict left. A mistyped key has one run only."""
    (_, account_id, _), runs = planned
    return account_id in _KEYS or len(runs) > 1


_Runs = dict[tuple[str, str, int], list[tuple[datetime, ReportDefinition, int]]]
"""The runs that planned a definition, account and delay: their times, and the delay's index."""


def _due(outcome: Outcome) -> Iterator[tuple[str, str, int, Window]]:
    """Yield the windows due between the first and the last run that planned their definition.

    A revision of which the delay changed counts from the run that read its present delay.
    """
    planned, planned_first = _runs(outcome)
    definition_first = {name: at for (name, _), at in reversed(planned_first.items())}
    begun: dict[tuple[str, str], datetime] = {}
    for (name, account_id, days), runs in filter(_has_a_next_run, planned.items()):
        (at, definition, index) = runs[0]
        last = max(at for at, *_ in runs)
        (first,) = due_windows(definition, index, None, at)
        span = _span_of(account_id, outcome)
        if at == planned_first[name, account_id]:
            created = outcome.created.get(account_id)
            if created is not None and at > definition_first[name]:
                # The account is new, and loses no record.
                of = definition
                first = next(windows_ending_after(created, of.window, of.time_zone))
            begun[name, account_id] = min(first.start, begun.get((name, account_id), first.start))
        for window in due_windows(definition, index, first.start, last):
            # Collecting begins once. A later change of the delay begins nothing.
            if window.start >= begun[name, account_id] and span.has(window):
                yield name, account_id, days, window


def _runs(outcome: Outcome) -> tuple[_Runs, dict[tuple[str, str], datetime]]:
    """Return the runs that planned, and the first one of each definition and account."""
    planned: _Runs = {}
    planned_first: dict[tuple[str, str], datetime] = {}
    # In order of completion: the first may have overtaken an earlier run.
    for run in filter(lambda each: each.succeeded, outcome.scheduled):
        for definition in _parsed(run.definitions):
            if definition.name in run.without_accounts:
                # Announced: `definition.refused`.
                continue
            for account_id in definition.account_ids:
                planned_first.setdefault((definition.name, account_id), run.at)
                for index, days in enumerate(definition.delay_days):
                    key = (definition.name, account_id, days)
                    planned.setdefault(key, []).append((run.at, definition, index))
    return planned, planned_first


def _span_of(account_id: str, outcome: Outcome) -> Span:
    """Return the time in which an account had records, by Vonage's clock."""
    first = outcome.created.get(account_id), outcome.suspended.get(account_id)
    if account_id not in outcome.reactivated:
        return Span((first,))
    return Span((first, (outcome.reactivated[account_id], None)))


def _delivered_or_announced(report: Report, outcome: Outcome) -> Iterator[str]:
    announced = _announced_of(report, outcome)
    match report.state:
        case State.DELIVERED:
            if ("report.delivered", None) not in announced:
                yield f"{report.report_id} is delivered, but not announced"
        case State.SUPERSEDED:
            # A later collection of that revision may have failed since.
            delivered = {
                each["report_id"]
                for each in outcome.aws.messages
                if each["event"] == "report.delivered"
            }
            if delivered.isdisjoint(report.later_revisions):
                yield f"{report.report_id} is superseded without a later delivery"
        case State.CANCELLED:
            if not _may_be_cancelled(report, outcome):
                yield f"{report.report_id} is cancelled without an event"
        case State.FAILED:
            # Matched by error: a retry or a temporary refusal is a report.failed too.
            if ("report.failed", report.error) not in announced:
                yield f"{report.report_id} failed, but the failure is not announced"
        case _:
            yield f"{report.report_id} is {report.state} at the end"


def _may_be_cancelled(report: Report, outcome: Outcome) -> bool:
    """Whether the operator ended a report, or removed its account or definition."""
    if report.withdrawn_at is None:
        return any("cancel" in event for event in outcome.operator_events)
    if {"withdraw": {"report_id": report.report_id}} in outcome.operator_events:
        return True
    read = {run.definitions for run in outcome.scheduled if run.definitions}
    return any(
        (report.definition, report.account_id)
        not in {(each.name, account) for each in _parsed(text) for account in each.account_ids}
        for text in read
    )


@cache
def _parsed(text: str) -> list[ReportDefinition]:
    return parse_definitions(text, api_key=API_KEY)[0]


def _announced_of(report: Report, outcome: Outcome) -> list[tuple[str, str | None]]:
    """Return the notifications of a report's present attempt: the events and their errors."""
    return [
        (each["event"], each.get("error"))
        for each in outcome.aws.messages
        if (each.get("report_id"), each.get("attempt")) == (report.report_id, report.attempt)
    ]


def _nothing_is_requested_twice(outcome: Outcome) -> Iterator[str]:
    """Compare the number of reports at Vonage with the number of reasons for a request."""
    created: defaultdict[Key, list[AtVonage]] = defaultdict(list)
    for made in outcome.vonage.reports.values():
        request = made.request
        key = (request.product.name, request.account_id, request.start, request.end)
        created[key].append(made)
    wanted: defaultdict[Key, list[Report]] = defaultdict(list)
    for report in outcome.reports:
        window = report.window
        wanted[report.product, report.account_id, window.start, window.end].append(report)
    for key, made_of_key in created.items():
        reports = [
            each
            for each in wanted[key]
            if each.state not in _NOT_REQUESTED or each.withdrawn_at is not None
        ]
        on_request = sum(_requests_of_operator(report, outcome) for report in wanted[key])
        lost = sum(_was_lost(made, made_of_key, outcome) for made in made_of_key)
        if len(made_of_key) > len(reports) + on_request + lost:
            names = [(each.report_id, each.state.value) for each in reports]
            how = [(each.request_id, each.outcome) for each in made_of_key]
            yield f"{key} was requested {len(how)} times: {how}, for {names}"


_NOT_REQUESTED = (State.SUPERSEDED, State.CANCELLED)
"""A request for one of these needs another reason: its end at Vonage, or the operator."""


def _requests_of_operator(report: Report, outcome: Outcome) -> int:
    """Count the operator's events that request the report again, each as often as it was sent.

    A backfill collects failed windows again. The backfill that planned a report counts once less.
    """
    names = {report.report_id, report.root}
    parts = {each.report_id for each in outcome.reports if each.root == report.report_id}
    of_its_own = [
        event
        for event in outcome.operator_events
        if event.get("backfill", {}).get("definition") == report.definition
        and event["backfill"]["start"] <= f"{report.window.first_date}" < event["backfill"]["end"]
    ]
    ours = names | parts
    # An event sent twice buys once: a token is followed once, and a hold is answered once.
    collected = {
        (event["recollect"]["report_id"], event["recollect"]["token"])
        for event in outcome.operator_events
        if "recollect" in event and event["recollect"]["report_id"] in ours
    }
    resolved = [
        (request["report_id"], request.get("hold", number))
        for number, event in enumerate(outcome.operator_events)
        if (request := event.get("resolve"))
        and request["report_id"] in ours
        and request["request_id"] is None
    ]
    return max(0, len(of_its_own) - bool(report.backfill)) + len(collected) + len({*resolved})


def _was_lost(made: AtVonage, others: Sequence[AtVonage], outcome: Outcome) -> bool:
    """Whether Vonage ended the report without a file that could be fetched."""
    end = made.ended()
    if end is not None and any(each.received >= end + FILE_LIFETIME for each in others):
        return True
    ended = made.status(outcome.vonage.simulation.world.clock.elapsed())
    return (
        ended not in ("SUCCESS", "TRUNCATED")
        or outcome.vonage.not_found.get(made.request_id, 0) > NOT_FOUND_PATIENCE
    )


def _never_more_than_five_in_flight(outcome: Outcome) -> Iterator[str]:
    most = outcome.vonage.max_in_flight
    if most > 5:
        yield f"{most} reports were in flight at once"


def _manifests_are_true(outcome: Outcome) -> Iterator[str]:
    objects = outcome.aws.objects
    delivered = {each.report_id for each in outcome.reports if each.state is State.DELIVERED}
    delays = {each.report_id: each.delay_days for each in outcome.reports}
    with_manifest = set()
    newest: dict[tuple[str, ...], tuple[int, dict[str, Any]]] = {}
    served: dict[str, tuple[str, ...]] = {}
    for key in objects.keys:
        if not key.startswith("manifests/"):
            continue
        manifest = read_json(objects, key)
        with_manifest.add(manifest["report_id"])
        untrue = list(_archives_are_whole(manifest, outcome))
        yield from untrue
        window = (manifest["definition"], manifest["account_id"], manifest["window"]["start"])
        for archive in manifest["archives"]:
            other = served.setdefault(archive["request_id"], window)
            if other != window:
                yield f"{window} and {other} share the archive of {archive['request_id']}"
        if not untrue:
            delay = delays.get(manifest["report_id"], -1)
            seen = newest.get(window, (-2, {}))
            newest[window] = max(seen, (delay, manifest), key=lambda each: each[0])
    for name in delivered - with_manifest:
        yield f"{name} is delivered without a manifest"
    for delay, manifest in newest.values():
        if manifest["dataset"] is None:
            yield f"{manifest['report_id']} has no dataset, nor has a later revision"
            continue
        name = manifest["dataset"]["key"]
        yield from _rows_are_right(name, manifest, objects)
        if int(objects.versions[name][-1].metadata["delay-days"]) != delay:
            yield f"{name} is of another revision than {manifest['report_id']}"


def _archives_are_whole(manifest: Mapping[str, Any], outcome: Outcome) -> Iterator[str]:
    name = manifest["report_id"]
    if len(manifest["archives"]) > MAX_LEAVES:
        yield f"{name} has {len(manifest['archives'])} archives"
    ends = []
    for archive in manifest["archives"]:
        made = outcome.vonage.reports[archive["request_id"]]
        if archive["key"] not in outcome.aws.objects.versions:
            yield f"{name}: {archive['key']} is missing"
            continue
        digest = hashlib.sha256(outcome.aws.objects.body(archive["key"])).hexdigest()
        assert made.rendered is not None
        if not digest == archive["sha256"] == made.rendered.sha256:
            yield f"{name}: {archive['key']} differs from Vonage's file"
        if made.rendered.truncated or made.outcome != "SUCCESS":
            yield f"{name}: {archive['key']} is truncated"
        asked = made.request
        if (asked.product.name, asked.account_id) != (manifest["product"], manifest["account_id"]):
            yield f"{name}: {archive['key']} is of {asked.product.name}, {asked.account_id}"
        ends.append((asked.start, asked.end))
    made_empty = {
        (each.request.product.name, each.request.start, each.request.end)
        for each in outcome.vonage.reports.values()
        if each.rendered is not None and each.rendered.rows == 0
    }
    window = Window.from_dict(manifest["window"])
    at = window.start
    for start, end in [*sorted(ends), (window.end, window.end)]:
        if start != at and (manifest["product"], at, start) not in made_empty:
            yield f"{name}: no archive covers {at} to {start}"
        at = end


def _rows_are_right(key: str, manifest: Mapping[str, Any], objects: Objects) -> Iterator[str]:
    data = objects.body(key)
    dataset = manifest["dataset"]
    if hashlib.sha256(data).hexdigest() != dataset["sha256"]:
        yield f"{key} differs from the manifest of {manifest['report_id']}"
        return
    table = pq.read_table(io.BytesIO(data))
    if not set(table.column("_revision").to_pylist()) <= {manifest["revision"]}:
        yield f"{key} has rows of another revision than {manifest['report_id']}"
    ids = sorted(table.column("id").to_pylist())
    in_archives = sorted(
        row["id"] for archive in manifest["archives"] for row in _rows(objects.body(archive["key"]))
    )
    if ids != in_archives or len(ids) != manifest["rows"]:
        yield (
            f"{key} has {len(ids)} rows, its archives {len(in_archives)}, "
            f"its manifest {manifest['rows']}"
        )
    if len(set(ids)) != len(ids):
        yield f"{key} has records twice"


def _rows(archive: bytes) -> Iterator[dict[str, str]]:
    with zipfile.ZipFile(io.BytesIO(archive)) as members:
        for name in members.namelist():
            yield from csv.DictReader(io.StringIO(members.read(name).decode()))


def _every_delivered_window_ends_as_final(outcome: Outcome) -> Iterator[str]:
    """Check that a window of which the final revision was due is not left preliminary.

    If the last delay was dropped from a definition, the report of the delay before it becomes the
    last one. If that report failed as a preliminary one, its recollection is final.
    """
    final: dict[tuple[str, str], int] = {}
    for definition in _parsed(json.dumps(outcome.definitions)):
        for account_id in definition.account_ids:
            final[definition.name, account_id] = definition.delay_days[-1]
    due = {(name, account, window) for name, account, days, window in _due(outcome)
           if final.get((name, account)) == days}  # fmt: skip
    of_window: defaultdict[Any, list[Report]] = defaultdict(list)
    for report in outcome.reports:
        if not report.is_half:
            of_window[report.definition, report.account_id, report.window].append(report)
    for key, reports in of_window.items():
        ended = {each.state for each in reports if each.revision is Revision.FINAL}
        last = {each.state for each in reports if each.delay_days == final.get(key[:2])}
        unmended = last & {State.FAILED, State.CANCELLED}
        if key in due and not unmended | (ended & {State.DELIVERED, State.FAILED, State.CANCELLED}):
            yield f"{key[0]} of {key[1]}, {key[2].interval}: no final revision"


def _nothing_was_broken_on_the_way(outcome: Outcome) -> Iterator[str]:
    yield from outcome.broken_on_the_way


def _readers_find_each_window_once(outcome: Outcome) -> Iterator[str]:
    objects = outcome.aws.objects
    manifests = (read_json(objects, key) for key in objects.keys if key.startswith("manifests/"))
    named = {each["dataset"]["key"] for each in manifests if each["dataset"] is not None}
    for key in objects.keys:
        if key.startswith("data/"):
            if key not in named:
                yield f"{key} is in no manifest"
            product, *values = (part.partition("=")[2] for part in key.split("/")[1:-1])
            if (table_name(product), *values) not in outcome.aws.partitions:
                yield f"{key} is in no partition of its table"


def _catalogue_hinders_no_delivery(outcome: Outcome) -> Iterator[str]:
    for execution in outcome.aws.executions.values():
        if "CreatePartition" in (execution.cause or ""):
            yield f"{execution.name} failed because of the catalogue: {execution.cause}"


def _every_archive_is_proven(outcome: Outcome) -> Iterator[str]:
    objects = outcome.aws.objects
    for key in objects.keys:
        if not (key.startswith("archives/") and key.endswith(".zip")):
            continue
        made = outcome.vonage.reports[key.rpartition("/")[2][: -len(".zip")]]
        digest = hashlib.sha256(objects.body(key)).hexdigest()
        if made.rendered is None or digest != made.rendered.sha256:
            yield f"{key} is visible, but differs from Vonage's file"
    if len(objects.uploads) > outcome.unable_to_abort:
        yield f"{len(objects.uploads)} uploads are open"


def _notifications_can_be_acted_on(outcome: Outcome) -> Iterator[str]:
    known = {each.report_id for each in outcome.reports}
    for message in outcome.aws.messages:
        event = message.get("run_again")
        if event is None:
            continue
        try:
            parse_event(event)
        except InvalidRequest as error:
            yield f"{event} is refused: {error}"
            continue
        (request,) = event.values()
        if request["report_id"] not in known:
            yield f"{event} names an unknown report"


def _no_secret_leaks(outcome: Outcome) -> Iterator[str]:
    executions = outcome.aws.executions.values()
    texts = "\n".join(
        [
            outcome.logs,
            json.dumps(outcome.aws.messages),
            json.dumps(list(outcome.aws.table.items.values())),
            *(
                outcome.aws.objects.body(key).decode()
                for key in outcome.aws.objects.keys
                if key.endswith(".json")
            ),
            *(f"{each.input} {each.output} {each.error} {each.cause}" for each in executions),
        ]
    )
    if any(path in texts for path in outcome.paths):
        yield "the path of a callback leaked"
    for secret in outcome.secrets:
        token = base64.b64encode(f"{API_KEY}:{secret}".encode()).decode()
        if secret in texts or token in texts:
            yield "a secret leaked"
    numbers = control._numbers(outcome.vonage.simulation, {})
    assert isinstance(numbers, list)
    ranges = [(int(each["first"]), int(each["last"])) for each in numbers]
    for digits in set(re.findall(r"(?<![\w.-])\d{8,15}(?![\w.-])", texts)):
        if any(first <= int(digits) <= last for first, last in ranges):
            yield f"a phone number leaked: {digits}"


def _callback_ends_one_wait(outcome: Outcome) -> Iterator[str]:
    """Check that a path causes at most one early poll over all runs."""
    for callback, count in outcome.woken.items():
        if count > 1:
            yield f"the callback {callback} ended {count} waits"


def _complete_periods_are_announced(outcome: Outcome) -> Iterator[str]:
    objects = outcome.aws.objects
    told = {
        (each["period"], each["number"])
        for each in outcome.aws.messages
        if each["event"] == "period.complete"
    }
    listed = listed_pairs(outcome.definitions)
    for day in sorted(days_of(outcome.reports)):
        number = last_number(objects, day)
        for each in range(1, number + 1):
            if (day, each) not in told:
                yield f"number {each} of {day} is written, but not announced"
        if waits_for(day, outcome.reports, listed) is not None:
            continue
        if not number:
            yield f"{day} is complete, but not announced"
        else:
            yield from untrue(read_json(objects, key_of(day, number)), objects)


def _no_error_is_unexpected(outcome: Outcome) -> Iterator[str]:
    yield from outcome.unexpected_errors


_CHECKS: tuple[Callable[[Outcome], Iterator[str]], ...] = (
    _everything_is_finished,
    _every_due_window_is_delivered_or_announced,
    _nothing_is_requested_twice,
    _never_more_than_five_in_flight,
    _manifests_are_true,
    _every_delivered_window_ends_as_final,
    _nothing_was_broken_on_the_way,
    _readers_find_each_window_once,
    _catalogue_hinders_no_delivery,
    _every_archive_is_proven,
    _notifications_can_be_acted_on,
    _complete_periods_are_announced,
    _callback_ends_one_wait,
    _no_secret_leaks,
    _no_error_is_unexpected,
)
