"""Whether a report is ready to be downloaded, from what Vonage says of it."""

from datetime import datetime
from typing import Any

from vonage_reports.domain import waits
from vonage_reports.domain.errors import ReportFailed, ReportTruncated, RowsMismatch
from vonage_reports.domain.report import RequestStatus
from vonage_reports.domain.windows import format_instant
from vonage_reports.vonage.answers import ReportRequest


def check_report(
    answer: ReportRequest, *, waited: float, started: datetime, now: datetime
) -> dict[str, Any]:
    """Return `ready`, the seconds to wait if it is not, and what to download if it is.

    `waited` are the seconds before this check, `started` is when the run began,
    in case Vonage does not say when it received the request. `download` has
    `file_id` (None where an empty report has no file), `items_count`, `submitted` and `ready`.

    Raises ReportFailed and ReportTruncated for what no waiting mends, and RowsMismatch where there
    are records, but no file: the link may come a moment later.
    """
    status = answer.state
    if not status.is_terminal:
        if now - (answer.receive_time or started) > waits.DEADLINE:
            raise ReportFailed(f"Vonage is still at it ({status}) after {waits.DEADLINE}")
        return {"ready": False, "wait_seconds": waits.next_poll(waited), "download": None}
    if status is RequestStatus.TRUNCATED:
        raise ReportTruncated("Vonage cut the report short for its size: use a shorter window")
    if status is not RequestStatus.SUCCESS:
        raise ReportFailed(f"Vonage ended the report as {status}")
    if answer.file_id is None and answer.items_count != 0:
        raise RowsMismatch(
            f"Vonage says SUCCESS and {answer.items_count} records, but gives no download link"
        )
    return {
        "ready": True,
        "wait_seconds": 0,
        "download": {
            "file_id": answer.file_id,
            "items_count": answer.items_count,
            "submitted": answer.receive_time and format_instant(answer.receive_time),
            "ready": format_instant(now),
        },
    }
