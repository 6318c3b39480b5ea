"""The life of a report as text."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from vonage_reports.domain.printable import printable
from vonage_reports.domain.report import State
from vonage_reports_cli.screen import Screen
from vonage_reports_cli.show.life import Advice, Life, Request
from vonage_reports_cli.tables import Column, show_table

_MOST_TOTALS = 5


def show_life(life: Life, advice: Advice, source: str, screen: Screen, *, place: str = "") -> None:
    """Print the life of a report, and the advice last.

    `place` is the folder that mirrors the bucket, with a slash at its end. Empty for the bucket.
    """
    report = life.report
    screen.say(printable(source), "")
    part = f", a part of {report.root}" if report.root else ""
    names = (report.definition, report.product, report.account_id, report.revision)
    screen.say(
        printable(report.report_id),
        printable(f"  {', '.join(names)}{part}"),
        printable(f"  window {report.window.interval}, {report.window.time_zone}"),
        printable(f"  {report.state}{_counts(life)}"),
    )
    if report.error or report.reason:
        screen.say(printable(f"  {': '.join(filter(None, (report.error, report.reason)))}"))
    screen.say("")
    screen.say(*(f"{name:<11}{_time(at) or '-'}" for name, at in life.times.items()))
    if len(life.requests) > 1:
        screen.say("", "requests to Vonage")
        show_table(screen, _columns(life))
    screen.say("", *_bill(life))
    if life.parts:
        screen.say("", "parts of the window")
        for each in life.parts:
            why = f": {each.error}: {each.reason}" if each.error else ""
            screen.say(printable(f"  {each.report_id}, {each.window.interval}, {each.state}{why}"))
    if life.run is not None:
        state = f", {life.run.state}" if life.run.state else ""
        screen.say("", printable(f"run {life.run.number}{state}"), printable(life.run.execution))
    if life.manifest is not None:
        is_last = report.state is State.DELIVERED
        screen.say("", *map(printable, _delivery(life.manifest, place, is_last=is_last)))
    todo = " ".join(filter(None, (advice.sentence, advice.offer)))
    screen.say("", f"What to do: {printable(todo)}")
    screen.say(*(f"  {printable(each)}" for each in advice.commands))


def _counts(life: Life) -> str:
    report = life.report
    counts = {"request": report.attempt, "failure": report.failures, "hold": report.holds}
    words = [f"{n} {name}{'s' if n > 1 else ''}" for name, n in counts.items() if n]
    return f" after {', '.join(words)}" if words else ""


def _time(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _columns(life: Life) -> list[Column]:
    def billed(request: Request) -> str:
        return "unknown" if request.records is None else f"{request.records:,}"

    requests = life.requests
    return [
        Column("request", [each.request_id or "" for each in requests]),
        Column("of", [each.report_id for each in requests] if life.parts else [""] * len(requests)),
        Column("requested", [_time(each.requested) for each in requests]),
        Column("ready", [_time(each.ready) for each in requests]),
        Column("stored", [_time(each.stored) for each in requests]),
        Column("billed records", [billed(each) for each in requests], is_number=True),
        Column(
            "bytes",
            ["" if each.bytes is None else f"{each.bytes:,}" for each in requests],
            is_number=True,
        ),
    ]


def _bill(life: Life) -> Iterator[str]:
    if len(life.requests) == 1:
        (only,) = life.requests
        size = "" if only.bytes is None else f", an archive of {only.bytes:,} bytes"
        yield f"request {only.request_id}{size}"
    if life.requests:
        records = "record" if life.billed_records == 1 else "records"
        cost = f" ({life.cost})" if life.cost else ""
        yield (
            f"Vonage billed {life.billed_records:,} {records}{cost}, by the receipts of the "
            "archives."
        )
    else:
        yield "Vonage has billed nothing, as far as the ledger knows."
    unknown = sum(each.records is None for each in life.requests)
    if unknown:
        yield f"For {unknown:,} of these requests, the number is unknown."
    if life.unanswered:
        more = "one more request" if life.unanswered == 1 else f"{life.unanswered:,} more requests"
        yield (
            f"Perhaps Vonage billed {more}, because Vonage did not answer. Vonage's dashboard "
            "shows whether it did."
        )
    if life.unexplained:
        requests = "more requests" if life.unexplained > 1 else "more request"
        yield (
            f"{life.unexplained:,} {requests} left no archive. Vonage's dashboard shows whether "
            "Vonage billed that."
        )


def _delivery(manifest: Mapping[str, Any], place: str, *, is_last: bool) -> Iterator[str]:
    before = "" if is_last else "before this collection: "
    yield f"delivered {before}{manifest['rows']:,} rows{_totals(manifest)}"
    for each in (manifest["dataset"], *manifest["archives"]):
        if each:
            yield f"  {place or 's3://' + each['bucket'] + '/'}{each['key']}"
    if manifest.get("accepted"):
        yield f"  accepted: {', '.join(each['name'] for each in manifest['accepted'])}"


def _totals(manifest: Mapping[str, Any]) -> str:
    totals = [f"{each['total_price']} {each['currency'] or ''}" for each in manifest["totals"]]
    more = f" and {len(totals) - _MOST_TOTALS} more" if len(totals) > _MOST_TOTALS else ""
    return f", {', '.join(each.strip() for each in totals[:_MOST_TOTALS])}{more}" if totals else ""
