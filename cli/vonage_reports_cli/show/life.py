"""The life of one report, from its ledger item, its receipts and its manifest.

Uses no clock, no AWS client and no file: the caller provides the ledger and the objects.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from vonage_reports.domain.commands import command_for
from vonage_reports.domain.objects import manifest_key, receipt_key
from vonage_reports.domain.products import FREE, billed_records
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.splitting import halves_of
from vonage_reports.domain.windows import format_instant, parse_instant
from vonage_reports_cli.status.problems import CHOICE, resolving, ways_to_mend


class Reports(Protocol):
    """A ledger that finds a report, as `Ledger` and `SavedLedger` do."""

    def report(self, report_id: str) -> Report | None:
        """Return a report, open or finished, or None for an unknown report_id."""


class Objects(Protocol):
    """The objects of a bucket, or of the folder that mirrors the bucket."""

    def keys(self, prefix: str) -> list[str]:
        """Return the keys with a prefix."""

    def read_json(self, key: str) -> dict[str, Any] | None:
        """Return the JSON object at `key`, or None without one."""


@dataclass(frozen=True)
class Run:
    """The present run of a report. `state` is None if the caller did not ask Step Functions."""

    number: int
    execution: str
    state: str | None = None


@dataclass(frozen=True)
class Request:
    """One report at Vonage: its times, and the records that Vonage billed, None if unknown.

    A request without an archive is under way, or it failed.
    """

    report_id: str
    request_id: str | None
    requested: datetime | None
    ready: datetime | None = None
    stored: datetime | None = None
    records: int | None = None
    archive: str | None = None
    bytes: int | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            **{name: getattr(self, name) for name in ("report_id", "request_id")},
            **{name: _text(getattr(self, name)) for name in ("requested", "ready", "stored")},
            "billed_records": self.records,
            **{name: getattr(self, name) for name in ("archive", "bytes")},
        }


@dataclass(frozen=True)
class Life:
    """A report with its requests, the oldest first, its parts and its manifest.

    `cost` is the price of the billed records, if the operator set a price.
    """

    report: Report
    requests: Sequence[Request]
    parts: Sequence[Report]
    manifest: Mapping[str, Any] | None
    run: Run | None
    cost: str | None = None

    @property
    def unexplained(self) -> int:
        """How many requests of the window, and of its parts, left no receipt."""
        attempts = self.report.attempt + sum(part.attempt for part in self.parts)
        return max(attempts - len(self.requests), 0)

    @property
    def unanswered(self) -> int:
        """How many requests, of the window or its parts, may have been billed without an answer.

        A hold begins with such a request. The operator may have found it, or answered that Vonage
        does not have it.
        """
        return sum(each.holds + each.unheard for each in (self.report, *self.parts))

    @property
    def billed_records(self) -> int:
        """The records that Vonage billed, as far as the receipts have them."""
        return sum(each.records or 0 for each in self.requests)

    @property
    def times(self) -> dict[str, datetime | None]:
        """When the window was planned, last requested, ready, stored and delivered.

        Each time is of the present collection. The time of a step that is still to come is None.
        """
        report = self.report
        written = {} if self.manifest is None else self.manifest["times"]
        delivered = written.get("delivered") if report.state is State.DELIVERED else None
        # Receipts have whole seconds.
        began = report.planned_at.replace(microsecond=0)
        submitted = report.submitted_at
        requested = submitted if submitted is not None and submitted >= began else None
        since = began if requested is None else requested.replace(microsecond=0)
        last = Request(report.report_id, None, None)
        for each in self.requests:
            if each.requested is not None and each.requested >= since:
                last = each
        return {
            "planned": report.planned_at,
            "requested": requested or last.requested,
            "ready": last.ready,
            "stored": last.stored,
            "delivered": None if delivered is None else parse_instant(delivered),
        }

    def to_dict(self, advice: "Advice") -> dict[str, object]:
        """Return the JSON form."""
        report = self.report
        names = ("report_id", "definition", "product", "account_id", "revision", "state", "root")
        return {
            **{name: getattr(report, name) for name in names},
            "window": report.window.to_dict(),
            "times": {name: _text(at) for name, at in self.times.items()},
            **{name: getattr(report, name) for name in ("attempt", "failures", "holds", "rows")},
            "requests": [each.to_dict() for each in self.requests],
            "requests_without_receipt": self.unexplained,
            "requests_without_answer": self.unanswered,
            "billed_records": self.billed_records,
            "cost": self.cost,
            "parts": [
                {
                    "report_id": part.report_id,
                    "window": part.window.to_dict(),
                    **{name: getattr(part, name) for name in ("state", "error", "reason")},
                }
                for part in self.parts
            ],
            "run": self.run
            and {
                "number": self.run.number,
                "execution": self.run.execution,
                "state": self.run.state,
            },
            "error": report.error,
            "reason": report.reason,
            "manifest": None if self.manifest is None else manifest_key(report),
            "dataset": self.manifest
            and self.manifest["dataset"]
            and self.manifest["dataset"]["key"],
            "totals": self.manifest and self.manifest.get("totals"),
            "advice": " ".join(filter(None, (advice.sentence, advice.offer))),
            "commands": list(advice.commands),
        }


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else format_instant(instant)


def life_of(
    report: Report, ledger: Reports, objects: Objects, *, run: Run | None, now: datetime
) -> Life:
    """Read the life of a report."""
    parts = list(_parts(report, ledger, now=now))
    requests = [each for of in (report, *parts) for each in _requests(of, objects)]
    never = datetime.max.replace(tzinfo=now.tzinfo)
    requests.sort(key=lambda each: each.requested or never)
    return Life(report, requests, parts, objects.read_json(manifest_key(report)), run)


def _parts(report: Report, ledger: Reports, *, now: datetime) -> Iterator[Report]:
    """Yield the parts of a window that was split, oldest first, without parts of later splits."""
    is_split = report.state is State.SPLIT or (report.leaves > 1 and not report.is_half)
    if not is_split or not report.window.can_be_halved:
        return
    for half in halves_of(report, now=now):
        found = ledger.report(half.report_id)
        if found is not None:
            yield found
            yield from _parts(found, ledger, now=now)


def _requests(report: Report, objects: Objects) -> Iterator[Request]:
    """Yield the requests with a receipt, and the present one."""
    folder, _, _ = receipt_key(report).rpartition("/")
    found = set()
    for key in objects.keys(f"{folder}/"):
        receipt = objects.read_json(key) if key.endswith(".json") else None
        if receipt is not None:
            found.add(receipt["request_id"])
            yield _stored(report, receipt)
    if report.request_id is not None and report.request_id not in found:
        yield Request(report.report_id, report.request_id, report.submitted_at)


def _stored(report: Report, receipt: Mapping[str, Any]) -> Request:
    archive = receipt["archive"]
    # Vonage makes no file for a report without records.
    records = receipt["items_count"] if archive is not None else 0
    times = {
        name: at and parse_instant(at)
        for name, at in receipt["times"].items()
        if name in ("submitted", "ready", "stored")
    }
    return Request(
        report.report_id,
        receipt["request_id"],
        times.get("submitted"),
        times.get("ready"),
        times.get("stored"),
        billed_records(report.product, records),
        archive and archive["key"],
        archive and archive["bytes"],
    )


@dataclass(frozen=True)
class Advice:
    """The operator's next step, and the commands for it."""

    sentence: str
    offer: str | None = None
    commands: Sequence[str] = ()

    @property
    def without_commands(self) -> "Advice":
        """The advice on a run of this machine, which no command of the program changes."""
        return Advice(self.sentence)


_WAITING = {
    State.PLANNED: "Nothing. The report waits for a free slot.",
    State.SUBMITTING: "Nothing. submit_reports asks Vonage whether it has the report.",
    State.SUBMITTED: "Nothing. Vonage works on the report, or its run stores and converts it.",
    State.SPLIT: "Nothing. The parts of the window are collected.",
    State.CONVERTING: "Nothing. A run converts the stored archives.",
    State.STORED: "Nothing. The archive of this part is stored. The whole window is converted.",
    State.DELIVERED: "Nothing.",
    State.SUPERSEDED: "Nothing. A later revision was delivered before this one was requested.",
}


def advice_on(life: Life, *, stack: str | None) -> Advice:
    """Return the operator's next step, with the commands for a stack."""
    report = life.report
    billed = "which is free" if report.product in FREE else "which Vonage bills"
    if report.state is State.HELD:
        return Advice(
            "Look for the report in Vonage's dashboard.",
            f"If it is there, adopt it. Only if it is not there, create it, {billed}:",
            resolving(report.report_id, report.holds, stack=stack),
        )
    if report.state is State.FAILED:
        return _after_failure(life, stack)
    recollect = {"recollect": {"report_id": report.report_id}}
    withdraw = {"withdraw": {"report_id": report.root or report.report_id}}
    match report.state:
        case State.DELIVERED if not report.is_half:
            offer = f"To collect the window again, {billed}:"
            return Advice("Nothing.", offer, _commands(recollect, stack))
        case State.CANCELLED:
            sentence = "Nothing is collected."
            if report.delivered_from:
                sentence = "Nothing is collected again. The earlier delivery stays."
            offer = f"To collect the window, {billed}:"
            return Advice(sentence, offer, _commands(recollect, stack))
        case State.PLANNED if report.reason is not None:
            offer = "To end the report instead:"
            sentence = "Nothing. submit_reports tries again."
            return Advice(sentence, offer, _commands(withdraw, stack))
    return Advice(_WAITING[report.state])


def _after_failure(life: Life, stack: str | None) -> Advice:
    failed = [part for part in life.parts if part.state is State.FAILED]
    named = [part for part in failed if part.report_id in (life.report.reason or "")]
    ways = [ways_to_mend(each) for each in named or (life.report,)]
    events = [event for each in ways for event in each]
    commands = [each for event in events for each in _commands(event, stack)]
    if not commands:
        return Advice("A new report would fail again. Remove the cause first.")
    if any(len(each) > 1 for each in ways):
        return Advice("Deliver the window as it is, or collect it again.", f"{CHOICE}:", commands)
    cost = "Vonage bills it"
    if all("reconvert" in event for event in events):
        cost = "nothing is requested from Vonage"
    elif life.report.product in FREE:
        cost = "this is free"
    return Advice("Remove the cause.", f"Then send the report again; {cost}:", commands)


def _commands(event: Mapping[str, Any] | None, stack: str | None) -> list[str]:
    command = event and command_for(event, stack=stack)
    return [command] if command else []
