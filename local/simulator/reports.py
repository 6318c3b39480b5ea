"""One asynchronous report: its life cycle, and the documents that the API answers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event

from .clock import Clock
from .products import PRODUCTS
from .records import Job
from .rendering import Rendered
from .settings import Settings
from .validation import ReportRequest
from .values import PRICE_OF_A_RECORD, price_of_report, timestamp

# Links always name Vonage's host, so a client must rebuild its URLs from the ids.
LINK_HOST = "https://api.nexmo.com"

PENDING, PROCESSING, SUCCESS = "PENDING", "PROCESSING", "SUCCESS"
ABORTED, FAILED, TRUNCATED = "ABORTED", "FAILED", "TRUNCATED"
STATUSES = (PENDING, PROCESSING, SUCCESS, ABORTED, FAILED, TRUNCATED)
LIVE = frozenset({PENDING, PROCESSING})
WITH_ARCHIVE = frozenset({SUCCESS, TRUNCATED})

FILE_LIFETIME = timedelta(hours=72).total_seconds()
REPORT_LIFETIME = timedelta(days=4).total_seconds()
# A report is PENDING for the first fifth of its time.
_PENDING_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class Distortion:
    """How the API describes a report wrongly. Faults of the same names set the fields."""

    items_count_delta: int = 0
    no_link: bool = False
    link_while_processing: bool = False

    def plus(self, other: "Distortion") -> "Distortion":
        """Return both distortions combined."""
        return Distortion(
            items_count_delta=self.items_count_delta + other.items_count_delta,
            no_link=self.no_link or other.no_link,
            link_while_processing=self.link_while_processing or other.link_while_processing,
        )


@dataclass(kw_only=True)
class Report:
    """A report, from its POST on. All times are seconds on the simulator's clock.

    Attributes:
        number: Position among all reports. It selects one of the forms that Vonage mixes.
        received: When the POST arrived.
        started: When the report took one of the account's slots. None while the report queues.
        foreign: Whether another tool of the same account created it.
        outcome: Its final status.
        lasts: Seconds from `started` to the end. None means that the row count decides.
        empty: The form of a report without rows, or None for a report with its real rows.
        max_rows: Row limit of the outcome TRUNCATED. None means the limit of the settings.
        calls: How many callbacks are still to come. 0 without a `callback_url`.
        calls_after: Seconds until then from the end, or from the POST if `calls_early`.
        calls_early: Whether the callbacks do not wait for the end.
        imperfections: Names of `imperfections.IMPERFECTIONS`.
        aborted: When the report was cancelled.
        stop: Tells the rendering thread to give up.
    """

    number: int
    request_id: str
    file_id: str
    request: ReportRequest
    settings: Settings
    received: float
    started: float | None
    foreign: bool = False
    outcome: str = SUCCESS
    lasts: float | None = None
    empty: str | None = None
    max_rows: int | None = None
    distortion: Distortion = field(default_factory=Distortion)
    calls: int = 0
    calls_after: float = 0.0
    calls_early: bool = False
    imperfections: frozenset[str] = frozenset()
    rendered: Rendered | None = None
    rendered_at: float = 0.0
    aborted: float | None = None
    stop: Event = field(default_factory=Event)

    @property
    def needs_archive(self) -> bool:
        """Whether an archive has to be rendered."""
        return self.outcome in WITH_ARCHIVE

    def ended(self) -> float | None:
        """Return when the report reaches its outcome, or None while the time is unknown."""
        if self.aborted is not None:
            return self.aborted
        if self.started is None or (self.needs_archive and self.rendered is None):
            return None
        if self.lasts is not None:
            return max(self.started + self.lasts, self.rendered_at)
        rows = self.rendered.rows if self.rendered else 0
        speed = self.settings.rows_per_second
        seconds = max(self.settings.seconds_per_report, rows / speed if speed else 0.0)
        return max(self.started + seconds, self.rendered_at)

    def calls_at(self) -> float | None:
        """Return when the callbacks come, or None while the time is unknown."""
        since = self.received if self.calls_early else self.ended()
        return None if since is None else since + self.calls_after

    def status(self, now: float) -> str:
        """Return the request_status at the time `now`."""
        if self.aborted is not None:
            return ABORTED
        ended = self.ended()
        if ended is not None and now >= ended:
            cut = self.rendered is not None and self.rendered.truncated
            return TRUNCATED if cut and self.outcome == SUCCESS else self.outcome
        seconds = self.settings.seconds_per_report if self.lasts is None else self.lasts
        if self.started is None or now < self.started + seconds * _PENDING_SHARE:
            return PENDING
        return PROCESSING

    def has_file(self, now: float) -> bool:
        """Return whether the archive exists. Archives expire 72 hours after the report's end."""
        ended = self.ended()
        return (
            self.status(now) in WITH_ARCHIVE
            and self.rendered is not None
            and self.empty_how != "no_link"
            and ended is not None
            and now < ended + FILE_LIFETIME
        )

    def is_forgotten(self, now: float) -> bool:
        """Return whether the API has dropped the report. Reports are dropped after 4 days."""
        return now >= self.received + REPORT_LIFETIME

    @property
    def empty_how(self) -> str | None:
        """The form of a report without rows, or None if the report has rows."""
        if self.empty:
            return self.empty
        if self.rendered and self.rendered.rows == 0:
            return self.settings.empty_report
        return None

    def items_count(self, distortion: Distortion) -> int | None:
        """Return the API's row count, or None until the archive is rendered."""
        if self.rendered is None:
            return None
        return max(0, self.rendered.rows + distortion.items_count_delta)

    def created_document(self, clock: Clock) -> dict[str, object]:
        """Return the answer to the POST, which lacks start_time and items_count."""
        return self._document(clock, PENDING, link=False, started=False, items_count=None)

    def document(self, clock: Clock, distortion: Distortion) -> dict[str, object]:
        """Return the report as GET /v2/reports/{request_id} answers it."""
        now = clock.elapsed()
        distortion = self.distortion.plus(distortion)
        status = self.status(now)
        early = status == PROCESSING and distortion.link_while_processing
        done = status in WITH_ARCHIVE
        # The document keeps its link after the file has expired.
        link = early or (done and self.empty_how != "no_link" and not distortion.no_link)
        return self._document(
            clock,
            status,
            link=link,
            started=status != PENDING and self.started is not None,
            items_count=self.items_count(distortion) if done or early else None,
        )

    def _document(
        self, clock: Clock, status: str, *, link: bool, started: bool, items_count: int | None
    ) -> dict[str, object]:
        request = self.request
        document: dict[str, object] = {
            "request_id": self.request_id,
            "request_status": status,
            "product": request.product.name,
            "account_id": request.account_id,
            "date_start": self.format_time(request.start),
            "date_end": self.format_time(request.end),
            "include_subaccounts": request.include_subaccounts,
            **request.echo,
            "receive_time": self.format_time(clock.at(self.received)),
        }
        if started and self.started is not None:
            document["start_time"] = self.format_time(clock.at(self.started))
        links: dict[str, object] = {"self": {"href": f"{LINK_HOST}/v2/reports/{self.request_id}"}}
        if link:
            download = {"href": f"{LINK_HOST}/v3/media/{self.file_id}"}
            is_array = "link_as_array" in self.imperfections
            links["download_report"] = [download] if is_array else download
        document["_links"] = links
        if items_count is not None:
            is_text = "count_as_text" in self.imperfections
            document["items_count"] = str(items_count) if is_text else items_count
        return document

    def format_time(self, instant: datetime) -> str:
        """Format a time in UTC. Alternate between `+00:00` and `+0000`: Vonage has used both."""
        text = instant.astimezone(UTC).isoformat(timespec="seconds")
        return text if self.number % 2 else text[:-6] + "+0000"

    def job(self, clock: Clock, primary: str) -> Job:
        """Return the report as a record of REPORTS-USAGE, now.

        `primary` is the account that sent the request. Whether Vonage charges a report without an
        archive is unknown; here it does not.
        """
        now, ended = clock.elapsed(), self.ended()
        status = self.status(now)
        product = self.request.product
        rows = self.rendered.rows if self.rendered and status in WITH_ARCHIVE else 0

        def time(of: float | None) -> str:
            return "" if of is None or of > now else timestamp(int(clock.at(of).timestamp()))

        cells = {
            "acc": primary,
            "product_type": "reports",
            "date_received": time(self.received),
            "date_started": time(self.started),
            "date_finished": time(ended),
            "status": status,
            "account_id": self.request.account_id,
            "master_account_id": primary,
            "is_charged": str(status in WITH_ARCHIVE and not product.free).upper(),
            "request_params": json.dumps(self.request.sent),
            "job_type": "ASYNC_JOB",
            "requested_product": product.name,
            "items_written": str(rows),
            "price": PRICE_OF_A_RECORD,
            "currency": PRODUCTS["REPORTS-USAGE"].currency,
            "total_price": price_of_report(product.name, rows),
            # Whether Vonage's `id` is the request_id is unknown.
            "id": self.request_id,
            "tier_volume": "",
        }
        return Job(self.number, int(clock.at(self.received).timestamp()), cells)

    def control_document(self, clock: Clock) -> Mapping[str, object]:
        """Return the report's entry in /control/state."""
        ended = self.ended()
        return {
            "request_id": self.request_id,
            "file_id": self.file_id,
            "product": self.request.product.name,
            "account": self.request.account_id,
            "direction": self.request.direction,
            "date_start": self.request.start.astimezone(UTC).isoformat(),
            "date_end": self.request.end.astimezone(UTC).isoformat(),
            "request": self.request.sent,
            "request_status": self.status(clock.elapsed()),
            "items_count": self.items_count(self.distortion),
            "bytes": self.rendered.bytes if self.rendered else None,
            "sha256": self.rendered.sha256 if self.rendered else None,
            "receive_time": clock.at(self.received).isoformat(),
            "end_time": None if ended is None else clock.at(ended).isoformat(),
            "foreign": self.foreign,
        }
