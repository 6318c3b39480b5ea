"""Every notification: its body, its filterable attributes, and the causes announced once.

The workflow publishes `report.delivered`. submit_reports publishes the others.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Context, Decimal
from functools import reduce
from typing import Any

from vonage_reports.domain.acceptance import advised
from vonage_reports.domain.catalogue import CatalogueState
from vonage_reports.domain.commands import command_for
from vonage_reports.domain.definitions import Refusal
from vonage_reports.domain.errors import VonageRejected, VonageReportsError
from vonage_reports.domain.lifecycle import Fail, Hold, Resubmit, Resume
from vonage_reports.domain.objects import REFUSED
from vonage_reports.domain.removal import withdrawn_at
from vonage_reports.domain.report import Entry, Report, failure_token
from vonage_reports.domain.report_at_vonage import sought
from vonage_reports.domain.spend import SHARE_OF_BACKFILLS, Budget
from vonage_reports.domain.windows import Window, format_instant

FILTERABLE = ("event", "definition", "product", "account_id", "revision")
"""The fields that are message attributes too, for the filter policies of subscriptions.

The workflow's state Announce Report lists them again.
"""

SCHEMA_VERSION = 1
"""The version of every notification's fields. New fields do not change it."""

MOST_TOTALS = 50
"""How many currencies a notification names. The manifest names all."""

_MOST_NAMED = 20
"""How many sub-accounts a message names. `added` and `gone` have them all."""

_LONGEST_CURRENCY = 20
"""Longer texts in the currency column are no currencies, and could exceed the limit of SNS."""

_EXACT = Context(prec=60)

_MONEY_AND_TIME = ("decimal(18,8)", "timestamp")
"""The types, in a manifest, of the columns that decide a record's cost and time."""

CAP = "spend#"
"""How the causes of the month's cap begin."""

EVERY_REPORT = "every-report"
"""The cause that stops every submission: Vonage refuses the API key, or cannot be reached."""


def delivered(manifest: Mapping[str, Any], *, manifest_key: str) -> dict[str, Any]:
    """Make the body of `report.delivered` from a manifest; the workflow publishes it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "event": "report.delivered",
        "report_id": manifest["report_id"],
        "attempt": manifest["attempt"],
        "definition": manifest["definition"],
        "product": manifest["product"],
        "account_id": manifest["account_id"],
        "revision": manifest["revision"],
        "window": manifest["window"],
        "rows": manifest["rows"],
        "row_check": manifest["row_check"],
        "bytes": sum(archive["bytes"] for archive in manifest["archives"]),
        "totals": _bounded(manifest["totals"]),
        "rescued": _rescued(manifest),
        # A manifest of an earlier version has no such list.
        "accepted": manifest.get("accepted", []),
        "schema_changed": manifest["schema_changed"],
        # An earlier version wrote no manifest before the partition was registered.
        "catalogue": manifest.get("catalogue", CatalogueState.REGISTERED),
        "manifest": manifest_key,
        "archives": [archive["key"] for archive in manifest["archives"]],
        "dataset": manifest["dataset"] and manifest["dataset"]["key"],
    }


def _bounded(totals: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the totals of the currencies with the most rows, then one total of the others."""
    short = [each for each in totals if len(each["currency"] or "") <= _LONGEST_CURRENCY]
    most_rows = sorted(short, key=lambda each: -int(each["rows"]))[:MOST_TOTALS]
    named = {each["currency"] for each in most_rows}
    shown = [each for each in totals if each["currency"] in named]
    others = [each for each in totals if each["currency"] not in named]
    if not others:
        return shown
    counts = sorted({name for each in others for name in each if isinstance(each[name], int)})
    prices = [Decimal(each["total_price"]) for each in others]
    return [
        *shown,
        {
            "currency": "other",
            "total_price": f"{reduce(_EXACT.add, prices).normalize(_EXACT):f}",
            **{name: sum(each.get(name, 0) for each in others) for name in counts},
            "message": f"{len(others):,} more currencies, added up; the manifest has each of them",
        },
    ]


def _rescued(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Return how many cells of each price, time or currency column are in `_rescued`."""
    columns = [
        column["name"]
        for column in manifest["columns"]
        if column["type"] in _MONEY_AND_TIME or column["name"] == "currency"
    ]
    # A manifest of version 0.1 has no such counts.
    counts = manifest.get("rescued", {})
    return {name: counts[name] for name in columns if name in counts and not name.startswith("_")}


def failed(report: Report, failure: Fail, *, execution: str | None) -> dict[str, Any]:
    """Make the body of `report.failed` for a report that only the operator can mend.

    `run_again` is the event for submit_reports that mends it; `execution` is an ARN. Its token is
    that of the failure that is about to be written, so a repeated announcement has the same.
    """
    name = failure.part or report.report_id
    failures = report.failures + 1 if failure.part is None else failure.part_failures
    accept = advised(failure.reason)
    run_again = reconvert(name, accept) if failure.is_stored else recollect(name, failures)
    reason = failure.reason
    if failure.error == "VonageRejected" and report.denied_since is not None:
        reason += f". {_without_access(report)}"
    return _problem(
        "report.failed",
        report,
        failure.error,
        reason,
        execution=execution,
        run_again=None if fails_again(failure.error, failure.reason) else run_again,
    )


def _without_access(report: Report) -> str:
    """Say how to end the reports of an account or a product that Vonage refuses for good."""
    event: dict[str, Any] = {"withdraw": {"report_id": report.report_id}}
    of_others = ""
    # The dates of an hour are those of its whole day, with all of its other hours.
    if report.window.hours > 1:
        event = withdraw_windows(report.definition, report.account_id, report.window, report.window)
        of_others = ". Change the dates to end reports of other windows"
    return (
        "Give the API key access, and collect the window again. If Vonage refuses access for good, "
        f"end the report with `{command_for(event)}`{of_others}"
    )


def fails_again(error: str | None, reason: str | None) -> bool:
    """Whether a new report, which is billed, would fail like this one.

    A report that was too large would be truncated again. A refused archive has to be explained
    first; its bytes are kept.
    """
    return error == "ReportTruncated" or (error == "ArchiveCorrupt" and REFUSED in (reason or ""))


def recollect(report_id: str, failures: int | None) -> dict[str, Any]:
    """Return the event that answers a report's last failure, once; `failures` counts them."""
    token = {} if failures is None else {"token": failure_token(failures)}
    return {"recollect": {"report_id": report_id, **token}}


def reconvert(report_id: str, accept: Sequence[str] = ()) -> dict[str, Any]:
    """Return the event that converts a report's archives again, with these imperfections."""
    accepting = {"accept": list(accept)} if accept else {}
    return {"reconvert": {"report_id": report_id, **accepting}}


def backfill_event(
    definition: str, first: Window, last: Window, *, account_id: str | None = None
) -> dict[str, Any]:
    """Return the event that collects the windows from `first` to `last` which are missing.

    Without `account_id`, it collects every account but those that are closed or suspended.
    """
    named = {} if account_id is None else {"account_id": account_id}
    return {"backfill": {"definition": definition, **_dates(first, last), **named}}


def withdraw_windows(
    definition: str, account_id: str, first: Window, last: Window
) -> dict[str, Any]:
    """Return the event that ends an account's open and failed reports from `first` to `last`."""
    of_account = {"definition": definition, "account_id": account_id}
    return {"withdraw_windows": {**of_account, **_dates(first, last)}}


def _dates(first: Window, last: Window) -> dict[str, str]:
    end = last.last_date + timedelta(days=1)
    return {"start": first.first_date.isoformat(), "end": end.isoformat()}


def resubmitted(report: Report, again: Resubmit, *, execution: str | None) -> dict[str, Any]:
    """Make the body of `report.failed` for a report that is requested once more."""
    reason = f"{again.reason}. The report is requested, and billed, again"
    return _problem("report.failed", report, again.error, reason, execution=execution)


def resumed(report: Report, again: Resume, *, execution: str | None) -> dict[str, Any]:
    """Make the body of `report.failed` for a report whose run is repeated at no cost."""
    is_stored = again.entry is not Entry.CHECK
    safe = "The archive is stored" if is_stored else "Vonage has the report"
    reason = f"{again.reason}. {safe}, and the run is retried automatically"
    return _problem("report.failed", report, again.error, reason, execution=execution)


def refused_by_vonage(report: Report, error: VonageReportsError) -> dict[str, Any]:
    """Make the body of `report.failed` for a refusal that the operator has to mend."""
    reason = f"{error}. The request is retried automatically"
    return _problem("report.failed", report, type(error).__name__, reason)


def callback_refused(report: Report, error: VonageReportsError) -> dict[str, Any]:
    """Make the body of `report.failed` for a refusal of the URL that Vonage is to call."""
    reason = (
        f"{error}. The request is sent again without the URL, and so are all later ones. Their "
        "runs poll at their usual times"
    )
    return _problem("report.failed", report, type(error).__name__, reason)


def duplicate(report: Report, request_id: str) -> dict[str, Any]:
    """Make the body of `report.failed` for a second report at Vonage with the same parameters."""
    reason = (
        f"Vonage has a second report, {request_id}, with the same parameters. "
        "It was billed to the account, and submit_reports does not use it"
    )
    return _problem("report.failed", report, "SubmissionUnknown", reason)


def held(report: Report, hold: Hold) -> dict[str, Any]:
    """Make the body of `report.held`; `hold.request_id` may be the report at Vonage.

    `run_again` adopts that request. Only the message contains the event that creates a report. An
    operator who sends that event unread might buy the report twice.
    """
    answer = {"report_id": report.report_id, "hold": report.holds + 1}
    named = {"resolve": {**answer, "request_id": hold.request_id}}
    create = {"resolve": {**answer, "request_id": None}}
    body = _problem(
        "report.held",
        report,
        "SubmissionUnknown",
        f"{hold.reason}. Look in Vonage's dashboard for the report: {sought(report)}. If it is "
        "there, send a "
        f"resolve event with its request_id and hold {report.holds + 1}. Only if it is not there, "
        "create it, which is billed: "
        f"{json.dumps(create)}",
        run_again=named if hold.request_id is not None else None,
    )
    return {**body, "hold": answer["hold"]}


def overdue(report: Report, *, since: datetime, is_planned: bool) -> dict[str, Any]:
    """Make the body of `report.overdue`: the window is neither delivered nor failed."""
    state = f"the report is {report.state}" if is_planned else "the calendar has not planned it yet"
    reason = f"due since {format_instant(since)} and not delivered: {state}"
    if report.reason:
        reason += f", because {report.reason}"
    return _problem("report.overdue", report, "Overdue", reason)


def refused(refusal: Refusal) -> dict[str, Any]:
    """Make the body of `definition.refused`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "event": "definition.refused",
        "definition": refusal.definition,
        "field": refusal.field,
        "error": "InvalidRequest",
        "message": f"{refusal.definition}, {refusal.field}: {refusal.reason}",
    }


def removed(definition: str, account_id: str, *, since: datetime) -> dict[str, Any]:
    """Make the body of `definition.removed`: the definition or the account is not listed any more.

    Removed by mistake, it is listed again before the reports are withdrawn.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "event": "definition.removed",
        "definition": definition,
        "account_id": account_id,
        "error": "InvalidRequest",
        "message": (
            f"{definition}, {account_id}: this definition or its account is not in the report "
            f"definitions any more. Its planned reports wait, and are withdrawn on "
            f"{withdrawn_at(since):%Y-%m-%d %H:%M} UTC. List it again, and they go on. Later, "
            "only a recollect event collects a withdrawn window"
        ),
    }


def spend_capped(budget: Budget, waiting: int) -> dict[str, Any]:
    """Make the body of `spend.capped`: reports wait for the cap on the month's billed records."""
    return {
        "schema_version": SCHEMA_VERSION,
        "event": "spend.capped",
        "month": budget.month,
        "cap": budget.cap,
        "records": budget.used,
        "waiting": waiting,
        "message": (
            f"{budget.month}: {budget.used:,} records are billed or expected, of the "
            f"{budget.cap:,} that MaxBilledRecordsMonth allows. {waiting:,} reports wait. They go "
            "on next month (UTC), or once you raise the setting. Backfills wait from "
            f"{SHARE_OF_BACKFILLS:.0%} of the cap on"
        ),
    }


def cause_of_cap(budget: Budget) -> str:
    """Return the cause under which a month's cap is announced. A raised cap is another cause."""
    return f"{CAP}{budget.month}#{budget.cap}"


def subaccounts_changed(primary: str, added: Sequence[str], gone: Sequence[str]) -> dict[str, Any]:
    """Make the body of `subaccounts.changed`: Vonage lists other sub-accounts of the API key."""
    parts = [
        f"{heading}: {', '.join(accounts[:_MOST_NAMED])}"
        + (f" and {len(accounts) - _MOST_NAMED:,} more" if len(accounts) > _MOST_NAMED else "")
        for heading, accounts in (
            ("new, and collected from their first window on", added),
            ("closed or suspended, and collected up to now", gone),
        )
        if accounts
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "event": "subaccounts.changed",
        "account_id": primary,
        "added": list(added),
        "gone": list(gone),
        "message": f"sub-accounts of {primary}: {'; '.join(parts)}",
    }


def taken_over(version: str, uri: str) -> dict[str, Any]:
    """Make the body of `definitions.taken_over`: a parameter's version became the object."""
    return {
        "schema_version": SCHEMA_VERSION,
        "event": "definitions.taken_over",
        "object": uri,
        "parameter_version": version,
        "message": (
            f"version {version} of the parameter of the report definitions is now the object "
            f"{uri}, and the parameter does not count any more. Check the definitions, and change "
            "them in the object"
        ),
    }


MOST_CHANGED = 100
"""How many changed reports a notification names. The object of the period names all."""

_MOST_BYTES = 100_000
"""The size of a notification. SNS takes 256 kB, of the JSON and of the mail together."""


def period_complete(complete: Mapping[str, Any], *, key: str) -> dict[str, Any]:
    """Make the body of `period.complete` from the object of the period, without its manifests.

    If the body is too large, leave out the lists of the definitions, and then the definitions.
    """
    label, number, changed = complete["period"], complete["number"], complete["changed"]
    definitions = complete["definitions"]
    rows = sum(each["rows"] for each in definitions)
    reports = "report" if len(changed) == 1 else "reports"
    again = "" if number == 1 else f" again, with {len(changed):,} changed {reports}"
    body = {
        "schema_version": SCHEMA_VERSION,
        "event": "period.complete",
        "period": label,
        "from": complete["from"],
        "until": complete["until"],
        "number": number,
        "key": key,
        "changed": changed[:MOST_CHANGED],
        "changed_reports": len(changed),
        "manifests": len(complete["manifests"]),
        "rows": rows,
        "definitions": definitions,
        "message": (
            f"{label} is complete{again}: number {number}, {rows:,} rows of "
            f"{len(definitions):,} {'definition' if len(definitions) == 1 else 'definitions'}"
        ),
    }
    short = [
        {name: value for name, value in each.items() if not isinstance(value, list)}
        for each in definitions
    ]
    for fewer in (definitions, short):
        made = {**body, "definitions": fewer}
        if len(json.dumps(made)) <= _MOST_BYTES:
            return made
    return {**body, "definitions": []}


def period_overdue(label: str, reason: str, *, since: datetime) -> dict[str, Any]:
    """Make the body of `period.overdue`: its last window is due, and it is not complete."""
    return {
        "schema_version": SCHEMA_VERSION,
        "event": "period.overdue",
        "period": label,
        "error": "Overdue",
        "message": (
            f"{label}: not complete, although its last window is due since "
            f"{format_instant(since)}. It waits for {reason}"
        ),
    }


def waits(label: str) -> str:
    """Return the cause that records since when a period waits after its last window was due."""
    return f"period-waits#{label}"


def told_overdue(label: str) -> str:
    """Return the cause under which `period.overdue` is announced."""
    return f"period-overdue#{label}"


def attributes(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the message attributes of a notification, without those that are empty."""
    return {name: str(body[name]) for name in FILTERABLE if body.get(name)}


def cause(report: Report, error: VonageReportsError) -> str:
    """Return the cause that an error is announced under: every report, or one account's product."""
    if not isinstance(error, VonageRejected) or error.concerns_every_report:
        return EVERY_REPORT
    return _rejected(report)


def cause_of_callback(url: str) -> str:
    """Return the cause that requests name no URL to call. Another URL is another cause."""
    return f"callback-refused#{url}"


def causes_disproved_by(report: Report) -> frozenset[str]:
    """Return the causes that are gone once Vonage took a report."""
    return frozenset({EVERY_REPORT, _rejected(report)})


def _rejected(report: Report) -> str:
    return f"rejected#{report.account_id}#{report.product}"


def _problem(
    event: str,
    report: Report,
    error: str,
    reason: str,
    *,
    execution: str | None = None,
    run_again: object = None,
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "event": event,
        "report_id": report.report_id,
        "attempt": report.attempt,
        "definition": report.definition,
        "product": report.product,
        "account_id": report.account_id,
        "revision": report.revision,
        "window": report.window.to_dict(),
        "error": error,
        "message": f"{report.definition}, {report.window.first_date}: {reason}",
        "execution": execution,
        "run_again": run_again,
    }
