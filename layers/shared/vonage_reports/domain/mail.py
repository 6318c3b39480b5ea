"""A notification as e-mail: a subject, and a text with the command that mends the problem.

SNS sends the text to subscriptions by e-mail. All others get the JSON of the notification.

Source: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from vonage_reports.domain.commands import PROGRAM, command_for
from vonage_reports.domain.printable import printable
from vonage_reports.domain.products import FREE
from vonage_reports.domain.windows import Window, parse_instant

_LONGEST_SUBJECT = 99
_LONGEST_SENTENCE = 2000
_MOST_BYTES = 256 * 1024
"""The limit of SNS for the texts of all protocols together."""

_OVERHEAD = 4096
"""Bytes of a publication beside its texts: subject, attributes, and JSON around the texts."""

_WORDS = {
    "report.delivered": "delivered",
    "report.failed": "failed",
    "report.held": "held",
    "report.overdue": "overdue",
    "definition.refused": "refused",
    "definition.removed": "removed",
    "definitions.taken_over": "taken over",
    "spend.capped": "capped",
    "subaccounts.changed": "sub-accounts",
    "period.complete": "complete",
    "period.overdue": "incomplete",
}

_FREE = "This costs nothing."
_COSTS = {
    "recollect": "Vonage bills the records of the window again.",
    "reconvert": _FREE,
    "resolve": _FREE,
}


def message(body: Mapping[str, Any], *, stack: str) -> str:
    """Return the message of SNS with `MessageStructure: json`: JSON for machines, text for mail.

    Together the texts stay below the limit of SNS. A mail that would exceed it has no JSON.
    """
    default = json.dumps(body, sort_keys=True)
    text = mail_text(body, stack=stack)
    published = json.dumps({"default": default, "email": f"{text}\n{_indented(body)}\n"})
    if len(published.encode()) > _MOST_BYTES - _OVERHEAD:
        published = json.dumps({"default": default, "email": f"{text}\n"})
    return published


def subject(body: Mapping[str, Any]) -> str:
    """Return the subject of a mail: one line of ASCII with less than 100 characters."""
    word = _WORDS.get(body["event"], body["event"])
    told = _delivery(body) if body["event"] == "report.delivered" else _problem(body)
    line = printable(f"[{word}] {told}").encode("ascii", "replace").decode()
    return line if len(line) <= _LONGEST_SUBJECT else f"{line[: _LONGEST_SUBJECT - 3]}..."


def mail_text(body: Mapping[str, Any], *, stack: str) -> str:
    """Return a sentence about a notification, and the commands to copy with their cost."""
    told = (
        _delivery(body)
        if body["event"] == "report.delivered"
        else f"{body['message'].rstrip('.')}."
    )
    if len(told) > _LONGEST_SENTENCE:
        told = f"{told[:_LONGEST_SENTENCE]}..."
    return "\n".join([f"Stack {stack}: {told}", "", *_steps(body, stack)])


def _problem(body: Mapping[str, Any]) -> str:
    """Return the first clause of a problem: definition, date and reason."""
    names, _, reason = str(body["message"]).partition(": ")
    return f"{names.replace(', ', ' ', 1)}: {reason.split('. ')[0].split('; ')[0]}"


def _delivery(body: Mapping[str, Any]) -> str:
    window = Window(
        parse_instant(body["window"]["start"]),
        parse_instant(body["window"]["end"]),
        body["window"]["time_zone"],
    )
    prices = [f"{each['total_price']} {each['currency'] or ''}".strip() for each in body["totals"]]
    rows = f"{body['rows']:,} {'row' if body['rows'] == 1 else 'rows'}"
    return f"{body['definition']} {window.first_date}: {', '.join([rows, *prices])}"


def _steps(body: Mapping[str, Any], stack: str) -> Iterator[str]:
    report_id, event = body.get("report_id"), body.get("run_again")
    target = f"{PROGRAM} --stack {stack}"
    is_free = body.get("product") in FREE
    if body["event"] == "report.held":
        yield "Look in Vonage's dashboard for the report. If it is there (this costs nothing):"
        found = (event or {}).get("resolve", {}).get("request_id") or "REQUEST_ID"
        yield f"  {target} resolve {report_id} --found {found} --hold {body['hold']}"
        cost = "this costs nothing" if is_free else "Vonage bills a new report"
        yield f"Only if it is not there ({cost}):"
        yield f"  {target} resolve {report_id} --not-there --hold {body['hold']}"
    elif event is not None:
        (key,) = event
        cost = _FREE if is_free else _COSTS.get(key, "")
        yield f"To mend it, run the command. {cost}".rstrip()
        yield f"  {command_for(event, stack=stack)}"
    elif body["event"] == "period.complete":
        yield "To see its cost:"
        yield f"  {target} bill --from {body['from']} --until {body['until']}"
    elif body["event"].startswith("definition"):
        yield "To see the definitions and their problems:"
        yield f"  {target} definitions check"
    if report_id is not None:
        yield "To see the report's life:"
        yield f"  {target} show {report_id}"
    yield "To see the whole stack:"
    yield f"  {target} status"


def _indented(body: Mapping[str, Any]) -> str:
    return json.dumps(body, indent=2, sort_keys=True)
