import json
from datetime import UTC, datetime
from typing import Any

import pytest

from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.log_lines import LogLine, log_line, seconds_of

AT = datetime(2026, 11, 26, 11, 20, 13, 250_000, tzinfo=UTC)
STORED = {
    "level": "INFO",
    "location": "lambda_handler:66",
    "message": "stored",
    "timestamp": "2026-11-26 11:20:13,250+0000",
    "service": "store_report",
    "cold_start": False,
    "function_name": "StoreReport",
    "function_request_id": "6c5506b7",
    "xray_trace_id": "1-5759",
    "report_id": "sms-20261121T0000Z-0123456789ab",
    "definition": "sms",
    "request_id": "r1",
    "execution": "sms-20261121T0000Z-0123456789ab-r1",
    "rows": 10,
    "held": [],
}


def read(message: object) -> LogLine | None:
    text = message if isinstance(message, str) else json.dumps(message)
    event = {"timestamp": int(AT.timestamp() * 1000), "message": text}
    return log_line(event, "store")


def line(message: object) -> LogLine:
    found = read(message)
    assert found is not None
    return found


def test_line_has_time_level_function_message_and_key_fields() -> None:
    assert line(STORED).text == (
        "2026-11-26 11:20:13  INFO      store    stored "
        "report_id=sms-20261121T0000Z-0123456789ab request_id=r1 rows=10"
    )


def test_json_has_all_fields_about_the_report() -> None:
    assert line(STORED).to_dict() == {
        "time": "2026-11-26T11:20:13.250Z",
        "level": "INFO",
        "function": "store",
        "message": "stored",
        "fields": {
            "report_id": "sms-20261121T0000Z-0123456789ab",
            "definition": "sms",
            "request_id": "r1",
            "execution": "sms-20261121T0000Z-0123456789ab-r1",
            "rows": 10,
            "held": [],
        },
    }


def test_line_of_an_exception_has_its_last_line() -> None:
    traceback = "Traceback (most recent call last):\n  File ...\nKeyError: 'rows'\n"
    failed = line({**STORED, "level": "ERROR", "exception": traceback})

    assert failed.text.endswith("exception=KeyError: 'rows'")
    assert failed.fields["exception"] == traceback


def test_error_of_the_runtime_is_a_line() -> None:
    error = {
        "timestamp": "2026-11-26T11:20:13Z",
        "level": "ERROR",
        "errorType": "VonageUnavailable",
        "errorMessage": "Vonage answered 503",
        "requestId": "6c5506b7",
        "stackTrace": ["  File ..."],
    }

    assert line(error).message == "Vonage answered 503"
    assert "errorType=VonageUnavailable" in line(error).text


@pytest.mark.parametrize(
    "message",
    [
        {"_aws": {"CloudWatchMetrics": []}, "stack": "prod", "ReportsFailed": 1},
        {"time": "2026", "type": "platform.start", "record": {"requestId": "6c5506b7"}},
        {"time": "2026", "type": "platform.report", "record": {"status": "success"}},
        "START RequestId: 6c5506b7 Version: $LATEST",
        "END RequestId: 6c5506b7",
        "REPORT RequestId: 6c5506b7 Duration: 3.1 ms",
    ],
)
def test_metrics_and_sound_invocations_are_no_lines(message: object) -> None:
    assert read(message) is None


def test_invocation_that_timed_out_is_an_error() -> None:
    record = {"requestId": "6c5506b7", "status": "timeout", "metrics": {"durationMs": 90_000}}

    timed_out = line({"time": "2026", "type": "platform.report", "record": record})

    assert (timed_out.level, timed_out.message) == ("ERROR", "report timeout")


@pytest.mark.parametrize("text", ["a bare text", "3", "[1]", '"x"', "{", "null"])
def test_other_text_is_a_line_as_it_stands(text: str) -> None:
    assert line(text).message == text


@pytest.mark.parametrize("record", [None, [], {"status": None}])
def test_platform_line_without_a_status_is_no_line(record: Any) -> None:
    assert read({"type": "platform.report", "record": record}) is None


def test_line_without_level_and_message_has_its_fields() -> None:
    found = line({"message": None, "rows": 3})

    assert (found.level, found.message, found.fields) == ("", "", {"rows": 3})


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h", 3600), ("2d", 172_800)]
)
def test_span_has_a_unit(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "1x", "-1h", "1.5h", "1h30m", "9999999d"])
def test_other_span_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="--since takes a span such as 30m, 1h or 2d"):
        seconds_of(text)
