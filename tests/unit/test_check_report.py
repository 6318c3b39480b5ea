import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from vonage_reports.check_report import check_report
from vonage_reports.domain.errors import ReportFailed, ReportTruncated, RowsMismatch
from vonage_reports.vonage.answers import ReportRequest, report_request

NOW = datetime(2026, 11, 25, 2, 21, 13, tzinfo=UTC)
RECEIVED = datetime(2026, 11, 25, 2, 15, 1, tzinfo=UTC)
FILE_ID = "b003ed27-b4b2-4a7d-b4a5-6255ce08eea5"


def answer(
    word: str, *, file_id: str | None = None, items_count: int | None = None
) -> ReportRequest:
    return ReportRequest(
        request_id="6c5506b7-f16a-44dc-af06-756bbf467488",
        request_status=word,
        product="SMS",
        account_id="abcd1234",
        include_subaccounts=False,
        date_start=None,
        date_end=None,
        receive_time=RECEIVED,
        items_count=items_count,
        file_id=file_id,
        # An echoed filter of an SMS report, never its state.
        echo={"status": "delivered"},
    )


def ask(report: ReportRequest, *, running: timedelta = timedelta(minutes=6)) -> dict[str, object]:
    return check_report(report, started=NOW - running, now=NOW)


@pytest.mark.parametrize("word", ["PENDING", "PROCESSING"])
def test_unfinished_report_is_waited_for(word: str) -> None:
    assert ask(answer(word), running=timedelta(minutes=8)) == {
        "ready": False,
        "wait_seconds": 60,
        "download": None,
    }


def test_link_of_an_unfinished_report_is_ignored() -> None:
    # One of Vonage's own examples has such a link.
    early = answer("PROCESSING", file_id=FILE_ID, items_count=45544)

    assert ask(early)["ready"] is False


def test_succeeded_report_is_ready() -> None:
    assert ask(answer("SUCCESS", file_id=FILE_ID, items_count=14952)) == {
        "ready": True,
        "wait_seconds": 0,
        "download": {
            "file_id": FILE_ID,
            "items_count": 14952,
            "submitted": "2026-11-25T02:15:01Z",
            "ready": "2026-11-25T02:21:13Z",
        },
    }


def test_report_is_ready_without_count_and_times() -> None:
    bare = ReportRequest(
        **{**vars(answer("SUCCESS", file_id=FILE_ID)), "receive_time": None},
    )

    assert ask(bare)["download"] == {
        "file_id": FILE_ID,
        "items_count": None,
        "submitted": None,
        "ready": "2026-11-25T02:21:13Z",
    }


def test_unreadable_count_delays_no_download() -> None:
    report = report_request(
        {
            "request_id": "r1",
            "request_status": "SUCCESS",
            "items_count": "about 3",
            "_links": {"download_report": {"href": f"https://api.nexmo.com/v3/media/{FILE_ID}"}},
        }
    )

    download = ask(report)["download"]

    assert isinstance(download, dict)
    assert (download["items_count"], download["items_count_text"]) == (None, "about 3")


def test_empty_report_is_ready_without_a_link() -> None:
    result = ask(answer("SUCCESS", items_count=0))

    assert result["ready"] is True
    assert isinstance(result["download"], dict)
    assert (result["download"]["file_id"], result["download"]["items_count"]) == (None, 0)


@pytest.mark.parametrize("items_count", [1, 14952, None])
def test_missing_link_is_no_empty_report(items_count: int | None) -> None:
    with pytest.raises(RowsMismatch, match="link"):
        ask(answer("SUCCESS", items_count=items_count))


@pytest.mark.parametrize("word", ["FAILED", "ABORTED"])
def test_report_that_vonage_ended_without_a_file_failed(word: str) -> None:
    with pytest.raises(ReportFailed, match=word):
        ask(answer(word))


@pytest.mark.parametrize("file_id", [FILE_ID, None])
def test_truncated_report_is_refused_though_it_has_a_link(
    file_id: str | None,
) -> None:
    with pytest.raises(ReportTruncated, match="shorter window"):
        ask(answer("TRUNCATED", file_id=file_id, items_count=7_000_000))


def test_unknown_status_raises() -> None:
    with pytest.raises(ReportFailed, match="'DONE'"):
        ask(answer("DONE"))


@pytest.mark.parametrize("word", ["PENDING", "PROCESSING"])
def test_unfinished_report_fails_after_48_hours(word: str) -> None:
    unsaid = replace(answer(word), receive_time=None)
    assert ask(unsaid, running=timedelta(hours=48))["ready"] is False
    with pytest.raises(ReportFailed, match=word):
        ask(unsaid, running=timedelta(hours=48, seconds=1))


def test_new_run_does_not_extend_the_deadline() -> None:
    two_days_old = replace(answer("PROCESSING"), receive_time=NOW - timedelta(hours=49))
    with pytest.raises(ReportFailed, match="PROCESSING"):
        ask(two_days_old, running=timedelta(minutes=1))


def test_report_that_succeeded_after_the_deadline_is_ready() -> None:
    late = answer("SUCCESS", file_id=FILE_ID, items_count=1)

    assert ask(late, running=timedelta(hours=60))["ready"] is True


@pytest.mark.parametrize(
    "report",
    [answer("PENDING"), answer("SUCCESS", file_id=FILE_ID), answer("SUCCESS", items_count=0)],
)
def test_result_is_json_for_the_workflow(report: ReportRequest) -> None:
    result = ask(report)

    assert json.loads(json.dumps(result)) == result
