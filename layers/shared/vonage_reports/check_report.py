"""Decides whether a report is ready to be downloaded."""

from datetime import datetime
from typing import Any

from vonage_reports.domain import waits
from vonage_reports.domain.errors import ReportFailed, ReportTruncated, RowsMismatch
from vonage_reports.domain.report import RequestStatus
from vonage_reports.domain.windows import format_instant
from vonage_reports.vonage.answers import ReportRequest


def check_report(answer: ReportRequest, *, started: datetime, now: datetime) -> dict[str, Any]:
    """Return `ready`, `wait_seconds` until the next check, and `download` if ready.

    `started`, the start of the run, replaces a missing receive time. `download` has `file_id` (None
    if an empty report has no file), `items_count`, `submitted` and `ready`, and `items_count_text`
    if Vonage's count cannot be read.

    Raises:
        ReportFailed, ReportTruncated: waiting longer does not help.
        RowsMismatch: the report has records but no download link, which may come a moment later.
    """
    status = answer.state
    if not status.is_terminal:
        if now - (answer.receive_time or started) > waits.DEADLINE:
            raise ReportFailed(f"the report is still {status} at Vonage after {waits.DEADLINE}")
        return {"ready": False, "wait_seconds": waits.next_poll(now - started), "download": None}
    if status is RequestStatus.TRUNCATED:
        raise ReportTruncated(
            "Vonage truncated the report because of its size: use a shorter window"
        )
    if status is not RequestStatus.SUCCESS:
        raise ReportFailed(f"Vonage ended the report as {status}")
    if answer.file_id is None and answer.items_count != 0:
        count = answer.items_count_text or answer.items_count
        raise RowsMismatch(
            f"Vonage answered SUCCESS and items_count {count}, but no download link "
            f"for request {answer.request_id}: ask Vonage for it, or send recollect (billed)"
        )
    download = {
        "file_id": answer.file_id,
        "items_count": answer.items_count,
        "submitted": answer.receive_time and format_instant(answer.receive_time),
        "ready": format_instant(now),
    }
    if answer.items_count_text is not None:
        download["items_count_text"] = answer.items_count_text
    return {"ready": True, "wait_seconds": 0, "download": download}
