"""The state of one simulated account, and the APIs' operations on it."""

import json
import sys
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import RLock
from urllib.parse import parse_qs

from .answers import (
    Answer,
    InvalidParameter,
    already_terminated,
    forbidden,
    invalid_request_parameters,
    json_answer,
    subaccounts_not_provisioned,
    too_many_requests,
    unknown_account,
    unknown_file,
    unknown_report,
    wrong_credentials,
)
from .billing import Bill
from .callbacks import Callback
from .clock import Clock
from .faults import Fault, FaultBook
from .records import Job
from .rendering import Rendered, Rendering, RenderingStopped
from .reports import (
    LINK_HOST,
    LIVE,
    PENDING,
    STATUSES,
    TRUNCATED,
    WITH_ARCHIVE,
    Distortion,
    Report,
)
from .settings import Settings
from .traffic import Traffic
from .validation import parse_date, parse_json_object, parse_report_request

# More rendering threads would only delay the threads that answer.
_RENDERING_THREADS = 2
_LISTED = timedelta(days=7)
_OF_REPORTS = "REPORTS-USAGE"
_CREATED_AT = "2018-03-02T16:34:49Z"
"""The creation of the accounts of the start, as in the specification's example."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """The credentials, and the accounts whose reports they may request.

    Attributes:
        others: More accounts that the API key may name, such as its sub-accounts.
    """

    api_key: str
    api_secret: str
    others: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        """All accounts that a request may name."""
        return (self.api_key, *self.others)


@dataclass
class World:
    """The state that a reset replaces.

    Attributes:
        settings: Settings of the next report.
        callbacks: The calls that were made: request_id, the time, and the status of the answer.
        max_in_flight: Peak number of reports in flight, including refused reports.
    """

    settings: Settings
    clock: Clock
    traffic: Traffic = field(default_factory=Traffic)
    faults: FaultBook = field(default_factory=FaultBook)
    bill: Bill = field(default_factory=Bill)
    reports: dict[str, Report] = field(default_factory=dict)
    callbacks: list[dict[str, object]] = field(default_factory=list)
    max_in_flight: int = 0


class Simulation:
    """One account at a simulated Vonage.

    `lock` guards all state. The caller of a method must hold the lock. `renderers` run without the
    lock. Pass `new_clock`, `new_id` and `renderers` to make runs reproducible.
    """

    def __init__(
        self,
        account: Account,
        settings: Settings,
        folder: Path,
        *,
        new_clock: Callable[[], Clock] = Clock,
        new_id: Callable[[], uuid.UUID] = uuid.uuid4,
        renderers: Executor | None = None,
    ) -> None:
        self.account = account
        self.lock = RLock()
        self._initial_settings = settings
        self._folder = folder
        self._new_clock = new_clock
        self._new_id = new_id
        self._renderers = renderers or ThreadPoolExecutor(
            _RENDERING_THREADS, thread_name_prefix="render"
        )
        self.world = World(settings, new_clock())

    # Operations of the control endpoint.

    def reset(self) -> None:
        """Discard all state since the start."""
        for report in self.world.reports.values():
            self._discard(report)
        self.world = World(self._initial_settings, self._new_clock())

    def close(self) -> None:
        """Stop rendering."""
        for report in self.world.reports.values():
            report.stop.set()
        self._renderers.shutdown(cancel_futures=True)

    def state(self) -> dict[str, object]:
        """Return the document of GET /control/state."""
        self._settle()
        world = self.world
        traffic, bill = world.traffic, world.bill
        return {
            "reports": [report.control_document(world.clock) for report in world.reports.values()],
            "in_flight": self._in_flight(),
            "max_in_flight": world.max_in_flight,
            "bill": {
                "records_total": bill.records_total,
                "reports": [
                    {"request_id": request_id, "records": records}
                    for request_id, records in bill.records_by_report.items()
                ],
                "records_billed_more_than_once": bill.records_billed_more_than_once,
            },
            "requests": {
                "total": traffic.total,
                "by_operation": dict(traffic.by_operation),
                "by_status": dict(traffic.by_status),
            },
            "max_requests_per_second": traffic.max_requests_per_second,
            "violations": dict(traffic.violations),
            "callbacks": list(world.callbacks),
            "faults": [fault.to_json() for fault in world.faults.pending],
        }

    def add_foreign_jobs(
        self, count: int, seconds: float, request: Mapping[str, object]
    ) -> list[str]:
        """Create reports as another tool of the account would. Return their ids.

        Raises:
            Problem: The request is not valid.
        """
        body = {"product": "REPORTS-USAGE", "account_id": self.account.api_key, **request}
        return [
            self._accept(body, report_faults=(), foreign=True, lasts=seconds).request_id
            for _ in range(count)
        ]

    def take_callbacks(self) -> list[Callback]:
        """Return the callbacks that are due, once each."""
        self._settle()
        now = self.world.clock.elapsed()
        due: list[Callback] = []
        for report in self.world.reports.values():
            at = report.calls_at() if report.calls else None
            if at is not None and now >= at:
                document = report.document(self.world.clock, Distortion())
                url = str(report.request.sent["callback_url"])
                call = Callback(report.request_id, url, json.dumps(document).encode())
                due += [call] * report.calls
                report.calls = 0
        return due

    def called(self, callback: Callback, status: int | None) -> None:
        """Record the answer to a callback, or None."""
        at = self.world.clock.now().isoformat()
        self.world.callbacks.append({"request_id": callback.request_id, "at": at, "status": status})

    # Operations of the API. `report_faults` alter a report, or the API's answer about the report.

    def facts(self, operation: str, subject: str, body: bytes) -> dict[str, str]:
        """Return the facts about the request's report that are known before serving the request."""
        if operation == "create":
            document = parse_json_object(body)
            return {name: str(document.get(name, "")) for name in ("product", "direction")}
        report = (
            self._by_file(subject) if operation == "download" else self.world.reports.get(subject)
        )
        if report is None:
            return {}
        return {
            "product": report.request.product.name,
            "direction": report.request.direction,
            "request_id": report.request_id,
        }

    def create(self, body: bytes, report_faults: Sequence[Fault]) -> Answer:
        """POST /v2/reports."""
        report = self._accept(parse_json_object(body), report_faults=report_faults)
        return json_answer(report.created_document(self.world.clock))

    def get(self, request_id: str, report_faults: Sequence[Fault]) -> Answer:
        """GET /v2/reports/{request_id}."""
        report = self._find(request_id)
        return json_answer(report.document(self.world.clock, _distortion(report_faults)))

    def get_in_list_form(self, request_id: str, report_faults: Sequence[Fault]) -> Answer:
        """Answer in list form, as one page of Vonage's documentation wrongly shows."""
        report = self._find(request_id)
        query = f"account_id={report.request.account_id}"
        return self._list_answer([report], query, report_faults)

    def cancel(self, request_id: str) -> Answer:
        """DELETE /v2/reports/{request_id}."""
        report = self._find(request_id)
        if report.status(self.world.clock.elapsed()) not in LIVE:
            raise already_terminated()
        report.aborted = self.world.clock.elapsed()
        self._discard(report)
        return json_answer(report.document(self.world.clock, Distortion()))

    def list(self, query: str, report_faults: Sequence[Fault]) -> Answer:
        """GET /v2/reports?account_id=&status=&date_from=&date_to= (deprecated)."""
        self._settle()
        parameters = {name: values[-1] for name, values in parse_qs(query).items()}
        invalid = [
            InvalidParameter(name, "Missing required parameter")
            for name in ("account_id", "status")
            if name not in parameters
        ]
        statuses = {status.strip() for status in parameters.get("status", PENDING).split(",")}
        if not statuses <= set(STATUSES):
            invalid.append(InvalidParameter("status", f"Must be a list of [{', '.join(STATUSES)}]"))
        now = self.world.clock.elapsed()
        received = {
            "date_from": self.world.clock.at(now) - _LISTED,
            "date_to": self.world.clock.at(now),
        }
        for name in received:
            if name in parameters:
                date = parse_date(parameters[name])
                if date is None:
                    invalid.append(InvalidParameter(name, "Could not parse date"))
                else:
                    received[name] = date
        if invalid:
            raise invalid_request_parameters(*invalid)
        if parameters["account_id"] not in self._known:
            raise wrong_credentials()
        lag = next((f.number("seconds", 60) for f in report_faults if f.fault == "lag"), 0.0)
        listed = [
            report
            for report in self.world.reports.values()
            if report.request.account_id == parameters["account_id"]
            and report.status(now) in statuses
            and received["date_from"] <= self.world.clock.at(report.received) <= received["date_to"]
            and not report.is_forgotten(now)
            and now - report.received >= lag
        ]
        return self._list_answer(listed, query, report_faults)

    def download(self, file_id: str) -> Answer:
        """GET /v3/media/{file_id}."""
        self._settle()
        report = self._by_file(file_id)
        if (
            report is None
            or report.rendered is None
            or not report.has_file(self.world.clock.elapsed())
        ):
            raise unknown_file()
        name = f"{report.request.product.name}_{report.request_id}.zip"
        return Answer(
            status=200,
            content_type="application/octet-stream",
            file=report.rendered.path,
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    def subaccounts(self, api_key: str, report_faults: Sequence[Fault]) -> Answer:
        """GET /accounts/{api_key}/subaccounts (Subaccounts API, OpenAPI text 1.0.8: no pages)."""
        settings = self.world.settings
        if api_key != self.account.api_key:
            raise unknown_account(api_key)
        if not settings.subaccounts_api:
            raise subaccounts_not_provisioned(api_key)
        listed = [
            self._account_document(each)
            for each in self._known
            if each != api_key and each not in settings.closed_accounts
        ]
        primary = {**self._account_document(api_key), "balance": 100.25, "credit_limit": -100.25}
        document: dict[str, object] = {
            "_links": {"self": {"href": f"/accounts/{api_key}/subaccounts"}},
            "total_balance": 100.25,
            "total_credit_limit": -100.25,
            "_embedded": {"primary_account": primary, "subaccounts": listed},
        }
        for fault in report_faults:
            _distort_subaccounts(document, primary, listed, fault.text("how", ""))
        return json_answer(document)

    # Internals.

    @property
    def _known(self) -> tuple[str, ...]:
        created = self.world.settings.created_accounts
        return (*self.account.known, *(each for each in created if each not in self.account.known))

    def _account_document(self, api_key: str) -> dict[str, object]:
        """Return an account as the Subaccounts API shows it. It shares the primary's balance."""
        settings = self.world.settings
        return {
            "api_key": api_key,
            "name": f"Account {api_key}",
            "primary_account_api_key": self.account.api_key,
            "use_primary_account_balance": True,
            "created_at": settings.created_accounts.get(api_key, _CREATED_AT),
            "suspended": api_key in settings.suspended_accounts,
            "balance": None,
            "credit_limit": None,
        }

    def _accept(
        self,
        body: Mapping[str, object],
        *,
        report_faults: Sequence[Fault],
        foreign: bool = False,
        lasts: float | None = None,
    ) -> Report:
        self._settle()
        world = self.world
        now = world.clock.elapsed()
        request = parse_report_request(
            body,
            now=world.clock.at(now),
            accounts=self._known,
            unprovisioned_products=world.settings.unprovisioned_products,
        )
        if request.account_id in world.settings.forbidden_accounts:
            raise forbidden()
        in_flight = self._in_flight()
        world.max_in_flight = max(world.max_in_flight, in_flight + 1)
        full = in_flight >= world.settings.jobs_limit and not foreign
        if full and world.settings.jobs_policy == "refuse":
            raise too_many_requests(
                retry_after=world.settings.retry_after,
                limit=world.settings.jobs_limit,
                reset_ms=int((world.clock.now().timestamp() + world.settings.retry_after) * 1000),
            )
        number = len(world.reports) + 1
        prefix = "" if number % 3 else "ri3p58f-"
        report = Report(
            number=number,
            request_id=f"{prefix}{self._new_id()}",
            file_id=str(self._new_id()),
            request=request,
            settings=world.settings,
            received=now,
            started=None if full else now,
            foreign=foreign,
            lasts=lasts,
            distortion=_distortion(report_faults),
            imperfections=frozenset(world.settings.imperfect)
            | {fault.text("how", "") for fault in report_faults if fault.fault == "imperfect"},
        )
        report.calls = int("callback_url" in body and world.settings.callbacks_to != "")
        _set_outcome(report, report_faults)
        world.reports[report.request_id] = report
        if report.needs_archive:
            self._render(report)
        return report

    def _render(self, report: Report) -> None:
        request = report.request
        clock = self.world.clock
        accounts = self._known if request.include_subaccounts else (request.account_id,)
        rendering = Rendering(
            request=request,
            settings=report.settings,
            accounts=accounts,
            created=self.world.clock.at(report.received),
            max_rows=report.settings.max_records if report.max_rows is None else report.max_rows,
            empty=report.empty,
            imperfections=report.imperfections,
            jobs=self._jobs(report, accounts),
            jobs_since=clock.at(0) if request.product.name == _OF_REPORTS else None,
        )
        path = self._folder / f"{report.file_id}.zip"
        future = self._renderers.submit(rendering.run, path, report.stop)

        def store(done: Future[Rendered]) -> None:
            if done.cancelled() or isinstance(done.exception(), RenderingStopped):
                return
            if error := done.exception():
                traceback.print_exception(error, file=sys.stderr)
                return
            with self.lock:
                report.rendered, report.rendered_at = done.result(), clock.elapsed()
                if report.stop.is_set():
                    report.rendered.path.unlink()

        future.add_done_callback(store)

    def _jobs(self, listing: Report, accounts: Sequence[str]) -> Sequence[Job]:
        """Return the reports of these accounts that a report of REPORTS-USAGE lists."""
        if listing.request.product.name != _OF_REPORTS:
            return []
        return [
            report.job(self.world.clock, self.account.api_key)
            for report in self.world.reports.values()
            if report is not listing and report.request.account_id in accounts
        ]

    def _settle(self) -> None:
        """Start queued reports, charge finished reports and delete expired archives."""
        world = self.world
        now = world.clock.elapsed()
        working = 0
        for report in world.reports.values():
            if report.started is not None and report.status(now) in LIVE:
                working += 1
        for report in world.reports.values():
            if report.started is None and report.aborted is None:
                if working >= report.settings.jobs_limit:
                    break
                report.started = now
                working += 1
        for report in world.reports.values():
            if report.rendered is None or report.status(now) not in WITH_ARCHIVE:
                continue
            charged = report.request_id in world.bill.records_by_report
            if not charged and not report.foreign and not report.request.product.free:
                world.bill.charge(report.request_id, report.rendered.selection)
            if not report.has_file(now):
                report.rendered.path.unlink(missing_ok=True)

    def _discard(self, report: Report) -> None:
        report.stop.set()
        if report.rendered:
            report.rendered.path.unlink(missing_ok=True)

    def _in_flight(self) -> int:
        now = self.world.clock.elapsed()
        return sum(report.status(now) in LIVE for report in self.world.reports.values())

    def _find(self, request_id: str) -> Report:
        self._settle()
        report = self.world.reports.get(request_id)
        if report is None or report.is_forgotten(self.world.clock.elapsed()):
            raise unknown_report(request_id)
        return report

    def _by_file(self, file_id: str) -> Report | None:
        reports = self.world.reports.values()
        return next((report for report in reports if report.file_id == file_id), None)

    def _list_answer(
        self, reports: Sequence[Report], query: str, report_faults: Sequence[Fault]
    ) -> Answer:
        distortion = _distortion(report_faults)
        return json_answer(
            {
                "self_link": f"{LINK_HOST}/v2/reports?{query}",
                "items_count": len(reports),
                "reports": [report.document(self.world.clock, distortion) for report in reports],
            }
        )


def _distortion(report_faults: Sequence[Fault]) -> Distortion:
    names = {fault.fault for fault in report_faults}
    return Distortion(
        items_count_delta=sum(
            int(fault.number("delta", 1)) for fault in report_faults if fault.fault == "items_count"
        ),
        no_link="no_link" in names,
        link_while_processing="link_while_processing" in names,
    )


def _distort_subaccounts(
    document: dict[str, object],
    primary: dict[str, object],
    listed: list[dict[str, object]],
    how: str,
) -> None:
    """Change the list as no document of Vonage promises or excludes."""
    first = listed[0] if listed else primary
    match how:
        case "null_list":
            document["_embedded"] = {"primary_account": primary, "subaccounts": None}
        case "null_entry":
            first.update(dict.fromkeys(first))
        case "text_for_suspended":
            first["suspended"] = "no"
        case "number_for_key":
            first["api_key"] = 12345678
        case "odd_key":
            first["api_key"] = "../v2/reports"
        case "twice":
            listed.append({**first, "api_key": str(first["api_key"]).upper()})
        case "another_primary":
            primary["api_key"] = "other999"
        case "pages":
            document["_links"] = {"next": {"href": "/accounts/subaccounts?page=2"}}
            del listed[len(listed) // 2 :]
        case "many":
            listed += [{**first, "api_key": f"many{each:05}"} for each in range(10_000)]


def _set_outcome(report: Report, report_faults: Sequence[Fault]) -> None:
    """Set the outcome that the faults of the report's POST demand."""
    for fault in report_faults:
        if fault.fault == "outcome":
            report.outcome = fault.text("request_status", "FAILED")
            if "seconds" in fault.parameters:
                report.lasts = fault.number("seconds", 0)
            if report.outcome == TRUNCATED:
                report.max_rows = int(fault.number("rows", 100))
        elif fault.fault == "empty":
            report.empty = fault.text("how", "header_only")
        elif fault.fault == "callback" and report.calls:
            report.calls = int(fault.number("calls", 1))
            report.calls_after = fault.number("seconds", 0)
            report.calls_early = bool(fault.parameters.get("early", False))
