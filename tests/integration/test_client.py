"""The client's JSON calls against real servers: the simulator, and scripted bytes for faults."""

import contextlib
import gzip
import json
import socket
import ssl
import threading
import traceback
import tracemalloc
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from botocore.exceptions import ReadTimeoutError

from local.simulator.process import Simulator
from tests.integration.conftest import (
    API_KEY,
    API_SECRET,
    SHORT,
    SOURCE,
    Bytes,
    Connect,
    Keys,
    Serve,
    answer,
    basic,
    chunked,
    json_answer,
    problem,
)
from vonage_reports.domain.errors import (
    InvalidRequest,
    RateLimited,
    ReportExpired,
    ReportFailed,
    SubmissionUnknown,
    VonageRejected,
    VonageReportsError,
    VonageUnavailable,
    VonageUnreachable,
)
from vonage_reports.domain.report import RequestStatus
from vonage_reports.domain.subaccounts import SubaccountList
from vonage_reports.domain.windows import Window, format_instant
from vonage_reports.vonage.answers import ReportList, ReportRequest
from vonage_reports.vonage.client import USER_AGENT, Credentials, VonageClient
from vonage_reports.vonage.pacing import Pacer

REQUEST_ID = "ri3p58f-42d57cfd-1234-5678-9abc-67580d95f54a"
# The simulator keeps records for 13 months, and lists reports of the last 4 days, both from now.
NOW = datetime.now(UTC)
TODAY = datetime.combine(NOW, time(), UTC)
DAY = Window(TODAY - timedelta(days=5), TODAY - timedelta(days=4), "UTC")
LAST_WEEK = NOW - timedelta(days=7)
CREATED = {"request_id": REQUEST_ID, "request_status": "PENDING"}
PENDING = {"request_id": REQUEST_ID, "request_status": "PENDING"}
WRONG_CREDENTIALS = problem(
    401, "You did not provide correct credentials.", "Check that you're using the correct ones"
)


def create(client: VonageClient, **changes: object) -> str:
    arguments: dict[str, object] = {
        "product": "SMS",
        "account_id": API_KEY,
        "window": DAY,
        "include_subaccounts": False,
        "filters": {"direction": "outbound", "include_message": False},
    }
    return client.create_report(**{**arguments, **changes})  # type: ignore[arg-type]  # tests may lie


def get(client: VonageClient) -> ReportRequest:
    return client.get_report(REQUEST_ID)


def list_(client: VonageClient) -> ReportList:
    return client.list_reports(API_KEY)


def cancel(client: VonageClient) -> bool:
    return client.cancel_report(REQUEST_ID)


def subaccounts(client: VonageClient) -> SubaccountList:
    return client.list_subaccounts(API_KEY)


def download(client: VonageClient) -> bytes:
    with client.download("file-1", 1000) as chunks:
        return b"".join(chunks)


Call = Callable[[VonageClient], object]
JSON_CALLS = (create, get, list_, cancel, subaccounts)
ALL_CALLS = (*JSON_CALLS, download)
ANSWERS: dict[Call, Bytes] = {
    create: json_answer(CREATED),
    get: json_answer(PENDING),
    list_: json_answer({"reports": []}),
    cancel: json_answer(PENDING),
    subaccounts: json_answer(
        {"_embedded": {"primary_account": {"api_key": API_KEY}, "subaccounts": []}}
    ),
    download: answer(body=b"bytes"),
}

every_call = pytest.mark.parametrize("call", ALL_CALLS)
every_json_call = pytest.mark.parametrize("call", JSON_CALLS)


def connect_to_simulator(simulator: Simulator, connect: Connect) -> VonageClient:
    keys = Keys([(simulator.api_key, simulator.api_secret)])
    return connect(simulator.url, keys)


def ended(client: VonageClient, request_id: str) -> ReportRequest:
    while not (report := client.get_report(request_id)).state.is_terminal:
        pass
    return report


# The requests


@every_call
def test_credentials_are_sent_in_the_header_only(
    call: Call, serve: Serve, connect: Connect
) -> None:
    server = serve(ANSWERS[call])
    call(connect(server.url))
    (request,) = server.requests
    assert request.headers["authorization"] == basic(API_KEY, API_SECRET)
    assert API_SECRET not in request.target
    assert "@" not in request.target
    assert "api_key" not in request.target
    assert API_SECRET.encode() not in request.body


@every_call
def test_every_request_has_the_user_agent(call: Call, serve: Serve, connect: Connect) -> None:
    server = serve(ANSWERS[call])
    call(connect(server.url))
    assert [request.headers["user-agent"] for request in server.requests] == [USER_AGENT]


def test_create_sends_the_windows_start_and_end(serve: Serve, connect: Connect) -> None:
    server = serve(json_answer(CREATED))
    start, end = datetime(2026, 11, 21, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC)
    create(connect(server.url), window=Window(start, end, "UTC"))
    (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/v2/reports")
    assert request.headers["content-type"] == "application/json"
    assert request.json == {
        "product": "SMS",
        "account_id": API_KEY,
        "date_start": "2026-11-21T00:00:00Z",
        "date_end": "2026-11-22T00:00:00Z",
        "include_subaccounts": False,
        "direction": "outbound",
        "include_message": False,
    }


def test_create_sends_a_local_day_as_instants_in_utc(serve: Serve, connect: Connect) -> None:
    server = serve(json_answer(CREATED))
    start = datetime.fromisoformat("2026-10-25T00:00:00+01:00")
    end = datetime.fromisoformat("2026-10-26T00:00:00+00:00")
    create(connect(server.url), window=Window(start, end, "Europe/London"))
    document = server.requests[0].json
    assert document["date_start"] == "2026-10-24T23:00:00Z"
    assert document["date_end"] == "2026-10-26T00:00:00Z"


def test_filter_never_overrides_the_reports_own_fields(serve: Serve, connect: Connect) -> None:
    server = serve(json_answer(CREATED))
    hostile = {"product": "VIDEO-API", "account_id": "other", "date_end": "x"}
    create(connect(server.url), filters=hostile)
    document = server.requests[0].json
    assert (document["product"], document["account_id"]) == ("SMS", API_KEY)
    assert document["date_end"] == format_instant(DAY.end)


@pytest.mark.parametrize("odd", ["a/b", "a?b=c", "a#b", "a b", "a%2Fb", "ü", "a\r\nX: y", "..%2f"])
def test_odd_characters_in_a_request_id_are_quoted(
    odd: str, serve: Serve, connect: Connect
) -> None:
    server = serve(json_answer(PENDING), json_answer({"request_status": "ABORTED"}))
    client = connect(server.url)
    with pytest.raises(VonageUnavailable):
        client.get_report(odd)
    client.cancel_report(odd)
    path = f"/v2/reports/{quote(odd, safe='')}"
    assert [request.target for request in server.requests] == [path, path]


@pytest.mark.parametrize("dots", [".", ".."])
def test_request_id_of_dots_changes_no_path(dots: str, serve: Serve, connect: Connect) -> None:
    server = serve(json_answer(PENDING), json_answer(PENDING))
    client = connect(server.url)
    for call in (client.get_report, client.cancel_report):
        with contextlib.suppress(VonageReportsError):
            call(dots)
    assert [r.target for r in server.requests if not r.target.startswith("/v2/reports/.")] == []


def test_list_asks_for_all_six_statuses(serve: Serve, connect: Connect) -> None:
    server = serve(json_answer({"reports": []}))
    connect(server.url).list_reports(API_KEY)
    url = urlsplit(server.requests[0].target)
    query = parse_qs(url.query)
    assert url.path == "/v2/reports"
    assert query.keys() == {"account_id", "status"}
    assert query["account_id"] == [API_KEY]
    assert set(query["status"][0].split(",")) == {
        "PENDING", "PROCESSING", "SUCCESS", "TRUNCATED", "FAILED", "ABORTED",
    }  # fmt: skip


def test_sub_accounts_are_those_of_the_account(serve: Serve, connect: Connect) -> None:
    server = serve(ANSWERS[subaccounts])
    assert subaccounts(connect(server.url)) == SubaccountList(API_KEY, {})
    assert server.requests[0].target == f"/accounts/{API_KEY}/subaccounts"


@pytest.mark.parametrize("status", [404, 410])
def test_key_that_is_unknown_to_the_sub_accounts_api_is_rejected(
    status: int, serve: Serve, connect: Connect
) -> None:
    with pytest.raises(VonageRejected, match=f"answered {status} to GET") as error:
        subaccounts(connect(serve(answer(status)).url))
    assert error.value.status == 404


def test_simulated_sub_accounts_are_listed(simulator: Simulator, connect: Connect) -> None:
    simulator.settings(
        created_accounts={"subacct1": "2026-11-20T10:00:00Z", "subacct2": "2026-11-20T10:00:00Z"},
        suspended_accounts=["subacct2"],
    )
    listed = subaccounts(connect_to_simulator(simulator, connect))
    assert listed.primary == simulator.api_key
    assert listed.created == {"subacct1": datetime(2026, 11, 20, 10, tzinfo=UTC)}


# A report's life cycle at the simulator


def test_report_is_created_polled_and_downloaded(simulator: Simulator, connect: Connect) -> None:
    client = connect_to_simulator(simulator, connect)
    request_id = create(client)
    report = ended(client, request_id)
    assert report.state is RequestStatus.SUCCESS
    assert (report.product, report.account_id) == ("SMS", simulator.api_key)
    assert (report.date_start, report.date_end) == (DAY.start, DAY.end)
    assert report.receive_time is not None
    assert report.echo["direction"] == "outbound"
    assert report.file_id is not None
    with client.download(report.file_id, 1000) as chunks:
        assert next(chunks).startswith(b"PK\3\4")
    (known,) = simulator.state()["reports"]
    assert (request_id, report.file_id) == (known["request_id"], known["file_id"])


def test_simulator_counts_no_violation(simulator: Simulator, connect: Connect) -> None:
    client = connect_to_simulator(simulator, connect)
    report = ended(client, create(client))
    client.list_reports(simulator.api_key)
    client.cancel_report(report.request_id)
    download_id = report.file_id
    assert download_id is not None
    with client.download(download_id, 1000) as chunks:
        for _ in chunks:
            pass
    assert set(simulator.state()["violations"].values()) == {0}


def test_list_has_the_created_reports(simulator: Simulator, connect: Connect) -> None:
    client = connect_to_simulator(simulator, connect)
    ids = {create(client), create(client, filters={"direction": "inbound"})}
    listed = client.list_reports(simulator.api_key)
    assert listed.is_complete
    assert {each.request_id for each in listed.reports} == ids
    assert {each.echo["direction"] for each in listed.reports} == {"inbound", "outbound"}
    assert all(each.receive_time is not None for each in listed.reports)


def test_running_report_is_cancelled(simulator: Simulator, connect: Connect) -> None:
    simulator.settings(seconds_per_report=3600)
    client = connect_to_simulator(simulator, connect)
    request_id = create(client)
    assert client.cancel_report(request_id)
    assert client.get_report(request_id).state is RequestStatus.ABORTED


def test_ended_report_is_not_cancelled(simulator: Simulator, connect: Connect) -> None:
    client = connect_to_simulator(simulator, connect)
    report = ended(client, create(client))
    assert not client.cancel_report(report.request_id)


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("call", [get, cancel, download, list_])
def test_gone_report_file_or_list_is_expired(
    call: Call, status: int, serve: Serve, connect: Connect
) -> None:
    server = serve(answer(status))
    with pytest.raises(ReportExpired):
        call(connect(server.url))


@pytest.mark.parametrize(
    "said",
    [answer(204), answer(200), answer(200, b" "), json_answer({"request_status": "ABORTED"})],
)
def test_cancel_may_be_answered_without_a_report(
    said: Bytes, serve: Serve, connect: Connect
) -> None:
    server = serve(said)
    assert cancel(connect(server.url))


@pytest.mark.parametrize(
    "said",
    [
        answer(200, b"<html>"),
        json_answer({"request_id": "another"}),
        answer(200).cut(20),
        Bytes(b"HTTP/1.1 200 OK\r\n\r\n"),
    ],
)
def test_odd_answer_to_a_cancellation_proves_nothing(
    said: Bytes, serve: Serve, connect: Connect
) -> None:
    server = serve(said)
    with pytest.raises(VonageUnavailable):
        cancel(connect(server.url))


@pytest.mark.parametrize("call", [get, cancel, download])
def test_unknown_report_or_file_is_expired(
    call: Call, simulator: Simulator, connect: Connect
) -> None:
    with pytest.raises(ReportExpired):
        call(connect_to_simulator(simulator, connect))


def test_report_is_expired_after_four_days(simulator: Simulator, connect: Connect) -> None:
    client = connect_to_simulator(simulator, connect)
    report = ended(client, create(client))
    simulator.advance(4 * 86_400 + 60)
    with pytest.raises(ReportExpired):
        client.get_report(report.request_id)
    assert client.list_reports(API_KEY) == ReportList([], is_complete=True)


# Refusals


def test_missing_direction_is_refused_with_name_and_reason(
    simulator: Simulator, connect: Connect
) -> None:
    client = connect_to_simulator(simulator, connect)
    with pytest.raises(VonageRejected) as refused:
        create(client, filters={})
    assert refused.value.status in (400, 422)
    ((name, reason),) = refused.value.invalid_parameters
    assert name == "direction"
    assert reason
    assert f"{name}: {reason}" in str(refused.value)
    assert simulator.state()["reports"] == []


@pytest.mark.parametrize("status", [400, 422])
def test_error_has_every_invalid_parameter(status: int, serve: Serve, connect: Connect) -> None:
    invalid = [
        {"name": "date_end", "reason": "Missing required parameter"},
        {"name": "product", "reason": "Could not resolve product name"},
    ]
    server = serve(problem(status, "Unprocessable", "Look below", invalid_parameters=invalid))
    with pytest.raises(VonageRejected) as refused:
        create(connect(server.url))
    assert refused.value.status == status
    assert refused.value.invalid_parameters == (
        ("date_end", "Missing required parameter"),
        ("product", "Could not resolve product name"),
    )
    for text in ("Unprocessable", "Look below", *(part for p in invalid for part in p.values())):
        assert text in str(refused.value)


def test_error_omits_phone_numbers_that_vonage_quotes(serve: Serve, connect: Connect) -> None:
    # Filters may contain phone numbers, and the text of an error is logged and announced.
    number = "447700900123"
    invalid = [{"name": "to", "reason": f"+{number} is no number of the account"}]
    detail = f"Invalid value '{number}', at most 20000000 records"
    server = serve(problem(422, f"No {number}", detail, invalid_parameters=invalid))
    with pytest.raises(VonageRejected) as refused:
        create(connect(server.url), filters={"direction": "outbound", "to": number})
    assert number not in str(refused.value)
    assert number not in str(refused.value.invalid_parameters)
    assert "to: (number) is no number of the account" in str(refused.value)
    assert "at most 20000000 records" in str(refused.value)


@pytest.mark.parametrize(
    "body",
    [
        b'{"title": ""}',
        b'{"title": "No", "invalid_parameters": "x"}',
        b'{"title": "No", "invalid_parameters": ["x", null, 3]}',
        b'{"title": "No", "invalid_parameters": [{}, {"name": 1, "reason": null}]}',
        b'{"title": "No", "type": 7, "detail": {"a": []}}',
    ],
)
@pytest.mark.parametrize("content_type", ["application/problem+json", "text/html"])
@pytest.mark.parametrize("status", [400, 401, 403, 422])
def test_titled_refusal_of_a_post_proves_that_no_report_exists(
    status: int, content_type: str, body: bytes, serve: Serve, connect: Connect
) -> None:
    said = answer(status, body, content_type=content_type)
    server = serve(said, said)
    with pytest.raises(VonageRejected, match=str(status)) as refused:
        create(connect(server.url))
    assert refused.value.status == status


UNTITLED = (b"", b"<html>no</html>", b"[]", b"{}", b'{"title": 5}', b'{"title": null}')


@pytest.mark.parametrize("body", UNTITLED)
@pytest.mark.parametrize("status", [400, 401, 403, 422])
def test_untitled_refusal_of_a_post_proves_nothing(
    status: int, body: bytes, serve: Serve, connect: Connect
) -> None:
    server = serve(answer(status, body), json_answer(CREATED))
    with pytest.raises(SubmissionUnknown, match=str(status)):
        create(connect(server.url))
    assert len(server.requests) == 1, "a POST is never sent twice"


@pytest.mark.parametrize(
    "status", [300, 302, 303, 304, 307, 308, 402, 404, 405, 409, 410, 413, 425, 451]
)
@pytest.mark.parametrize("title", ["Forbidden", None])
def test_other_answer_to_a_post_proves_nothing(
    status: int, title: str | None, serve: Serve, connect: Connect
) -> None:
    said = answer(status) if title is None else problem(status, title, "No")
    server = serve(said, json_answer(CREATED))
    with pytest.raises(SubmissionUnknown, match=str(status)):
        create(connect(server.url))
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 403, 409, 422])
@pytest.mark.parametrize("call", [get, list_, download])
def test_refusal_of_a_get_does_not_depend_on_its_body(
    call: Call, status: int, serve: Serve, connect: Connect
) -> None:
    server = serve(answer(status, b"<html>no</html>"))
    with pytest.raises(VonageRejected, match=str(status)):
        call(connect(server.url))


def test_foreign_account_is_refused(simulator: Simulator, connect: Connect) -> None:
    with pytest.raises(VonageRejected) as refused:
        create(connect_to_simulator(simulator, connect), account_id="other999")
    assert refused.value.status == 403
    assert "Forbidden" in str(refused.value)
    assert "check at Vonage that the account may use the product" in str(refused.value)


@every_call
@pytest.mark.parametrize(
    ("after", "seconds"),
    [
        ("15", 15),
        ("0", 0),
        (None, None),
        ("", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("-3", None),
        ("soon", None),
    ],
)
def test_rate_limit_has_the_seconds_of_retry_after(
    call: Call, after: str | None, seconds: int | None, serve: Serve, connect: Connect
) -> None:
    body = b'{"title": "Slow down"}'
    server = serve(answer(429, body) if after is None else answer(429, body, Retry_After=after))
    with pytest.raises(RateLimited, match="Slow down") as limited:
        call(connect(server.url))
    assert limited.value.retry_after == seconds
    assert limited.value.status == 429
    assert len(server.requests) == 1


def test_sixth_job_is_a_rate_limit(simulator: Simulator, connect: Connect) -> None:
    simulator.settings(seconds_per_report=3600, retry_after=17)
    client = connect_to_simulator(simulator, connect)
    for _ in range(5):
        create(client)
    with pytest.raises(RateLimited) as limited:
        create(client)
    assert limited.value.retry_after == 17


def test_error_omits_personal_data_in_a_parameters_name(serve: Serve, connect: Connect) -> None:
    invalid = [{"name": "to[+44 7700 900123]", "reason": "ann@example.com is no number"}] * 50
    server = serve(problem(422, "No", "x" * 5000, invalid_parameters=invalid))
    with pytest.raises(VonageRejected) as refused:
        create(connect(server.url))
    assert len(str(refused.value)) <= 1000
    assert set(refused.value.invalid_parameters) == {("to[(number)]", "(address) is no number")}


# Credentials


@every_call
def test_rotated_credentials_are_fetched_once_and_used(
    call: Call, serve: Serve, connect: Connect
) -> None:
    keys = Keys([(API_KEY, "an-old-one"), (API_KEY, API_SECRET)])
    server = serve(WRONG_CREDENTIALS, ANSWERS[call])
    call(connect(server.url, keys))
    assert keys.asked == [False, True]
    assert [request.headers["authorization"] for request in server.requests] == [
        basic(API_KEY, "an-old-one"),
        basic(API_KEY, API_SECRET),
    ]


@every_call
def test_wrong_credentials_are_tried_twice_and_named_by_source(
    call: Call, serve: Serve, connect: Connect
) -> None:
    keys = Keys()
    server = serve(WRONG_CREDENTIALS, WRONG_CREDENTIALS, ANSWERS[call])
    with pytest.raises(VonageRejected) as refused:
        call(connect(server.url, keys))
    assert refused.value.status == 401
    assert keys.asked == [False, True]
    assert len(server.requests) == 2
    text = str(refused.value)
    assert SOURCE in text
    assert "You did not provide correct credentials." in text
    assert API_SECRET not in text
    assert API_KEY not in text


def test_product_that_is_not_enabled_is_refused_with_both_causes(
    simulator: Simulator, connect: Connect
) -> None:
    simulator.settings(unprovisioned_products=["SMS"])
    with pytest.raises(VonageRejected, match="enabled for the account") as refused:
        create(connect_to_simulator(simulator, connect))
    assert refused.value.status == 401
    assert refused.value.problem == "unprovisioned"
    assert simulator.state()["reports"] == []


def test_non_latin_credentials_never_raise_a_foreign_error(serve: Serve, connect: Connect) -> None:
    server = serve(json_answer(PENDING))
    try:
        get(connect(server.url, Keys([(API_KEY, "5€cret")])))
    except VonageReportsError as error:
        assert "5€cret" not in str(error)  # noqa: PT017 - to be sent is as good


def test_credentials_show_neither_in_repr_nor_in_str() -> None:
    credentials = Credentials(API_KEY, API_SECRET, SOURCE)
    assert API_SECRET not in repr(credentials)
    assert API_SECRET not in f"{credentials} {[credentials]!r}"


def test_api_key_is_the_key_in_use(connect: Connect) -> None:
    assert connect("https://api.nexmo.com").api_key == API_KEY


# Whether Vonage created a report

UNKNOWN = {
    "no answer in time": (Bytes(then="stall"), SHORT),
    "no answer's end in time": (json_answer(CREATED).cut(60, "stall"), SHORT),
    "closed without a word": (Bytes(), 10),
    "reset without a word": (Bytes(then="reset"), 10),
    "cut in its head": (json_answer(CREATED).cut(20), 10),
    "cut after its head": (json_answer(CREATED).cut(-len(json.dumps(CREATED))), 10),
    "cut in its body": (json_answer(CREATED).cut(-5), 10),
    "reset in its body": (json_answer(CREATED).cut(-5, "reset"), 10),
    "a chunk is missing": (chunked(json.dumps(CREATED).encode(), 8, last=False), 10),
    "not HTTP": (Bytes(b"SSH-2.0-OpenSSH_9.7\r\n"), 10),
    "408": (problem(408, "Request timeout", "Too slow"), 10),
    "500": (problem(500, "Internal error", "Try later"), 10),
    "502 of a proxy": (answer(502, b"<html>", content_type="text/html"), 10),
    "503": (answer(503), 10),
    "504": (answer(504), 10),
    "HTML": (answer(200, b"<html>hello</html>", content_type="text/html"), 10),
    "nothing": (answer(200), 10),
    "half a JSON": (answer(200, b'{"request_id": "a'), 10),
    "not UTF-8": (answer(200, b'{"request_id": "\xff"}'), 10),
    "nested too deeply": (answer(200, b'{"a":' * 100_000), 10),
    "a list": (json_answer([CREATED]), 10),
    "a text": (json_answer(REQUEST_ID), 10),
    "null": (json_answer(None), 10),
    "no request_id": (json_answer({"request_status": "PENDING"}), 10),
    "an empty request_id": (json_answer({"request_id": ""}), 10),
    "a number as request_id": (json_answer({"request_id": 7}), 10),
    "a path as request_id": (json_answer({"request_id": "../../x"}), 10),
    "an odd request_id": (json_answer({"request_id": "anything/else Ü"}), 10),
    "a lone surrogate": (answer(200, b'{"request_id": "a\\ud800"}'), 10),
    "a line feed after the request_id": (json_answer({"request_id": "a\n"}), 10),
    "a long request_id": (json_answer({"request_id": "a" * 129}), 10),
}


@pytest.mark.parametrize(("said", "patience"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_inconclusive_answer_raises_submission_unknown(
    said: Bytes, patience: float, serve: Serve, connect: Connect
) -> None:
    server = serve(said, json_answer(CREATED))
    with pytest.raises(SubmissionUnknown) as unknown:
        create(connect(server.url, patience=patience))
    assert len(server.requests) == 1, "a POST is never sent twice"
    assert isinstance(unknown.value.__cause__, VonageUnavailable)


@pytest.mark.parametrize("status", [201, 202])
def test_other_2xx_status_is_no_refusal(status: int, serve: Serve, connect: Connect) -> None:
    """Vonage answers 200. If that changes, a paid report must not count as refused."""
    server = serve(json_answer(CREATED, status))
    with contextlib.suppress(SubmissionUnknown):
        assert create(connect(server.url)) == REQUEST_ID


@pytest.mark.parametrize("fault", ["accept_then_cut", "accept_then_status", "not_json"])
def test_report_may_exist_after_submission_unknown(
    fault: str, simulator: Simulator, connect: Connect
) -> None:
    simulator.fault("create", fault)
    client = connect_to_simulator(simulator, connect)
    with pytest.raises(SubmissionUnknown):
        create(client)
    (listed,) = client.list_reports(simulator.api_key).reports
    assert (listed.product, listed.date_start, listed.date_end) == ("SMS", DAY.start, DAY.end)


@pytest.mark.parametrize(
    "request_id", ["6c5506b7-f16a-44dc-af06-756bbf467488", REQUEST_ID, "A.b_c-1", "a" * 128]
)
def test_request_id_is_returned_unchanged(request_id: str, serve: Serve, connect: Connect) -> None:
    server = serve(json_answer({**CREATED, "request_id": request_id}))
    assert create(connect(server.url)) == request_id


@every_json_call
def test_json_calls_follow_no_redirect(call: Call, serve: Serve, connect: Connect) -> None:
    other = serve(ANSWERS[call])
    server = serve(answer(307, Location=f"{other.url}/v2/reports"), ANSWERS[call])
    with pytest.raises(VonageReportsError):
        call(connect(server.url))
    assert other.requests == []
    assert len(server.requests) == 1


@every_json_call
@pytest.mark.parametrize("location", ["http://[evil", "//[", "http:", "/", ""])
def test_redirect_to_an_invalid_url_raises_our_error(
    call: Call, location: str, serve: Serve, connect: Connect
) -> None:
    server = serve(answer(302, Location=location), ANSWERS[call])
    with pytest.raises(VonageReportsError):
        call(connect(server.url))
    assert len(server.requests) == 1


# Answers without a bound


@every_json_call
def test_identity_encoding_is_requested(call: Call, serve: Serve, connect: Connect) -> None:
    server = serve(ANSWERS[call])
    call(connect(server.url))
    assert server.requests[0].headers["accept-encoding"] == "identity"


@every_json_call
@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "deflate"])
def test_stated_encoding_is_undone(
    call: Call, encoding: str, serve: Serve, connect: Connect
) -> None:
    body = ANSWERS[call].data.partition(b"\r\n\r\n")[2]
    packed = zlib.compress(body) if encoding == "deflate" else gzip.compress(body)
    server = serve(answer(body=packed, Content_Encoding=encoding))
    call(connect(server.url))


@every_json_call
def test_damaged_encoding_is_unavailable(call: Call, serve: Serve, connect: Connect) -> None:
    server = serve(answer(body=b"{no gzip}", Content_Encoding="gzip"))
    with pytest.raises((VonageUnavailable, SubmissionUnknown), match="damaged"):
        call(connect(server.url))


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """Return 0.6 MB of gzip that inflate to 600 MB."""
    squeeze = zlib.compressobj(9, wbits=31)
    head = squeeze.compress(b'{"title": "') + squeeze.flush(zlib.Z_FULL_FLUSH)
    block = squeeze.compress(b" " * 10_000_000) + squeeze.flush(zlib.Z_FULL_FLUSH)
    return head + block * 60 + squeeze.flush()


@every_json_call
@pytest.mark.parametrize("status", [200, 403, 500])
def test_bomb_of_gzip_is_not_inflated(
    call: Call, status: int, bomb: bytes, serve: Serve, connect: Connect
) -> None:
    server = serve(answer(status, bomb, Content_Encoding="gzip"))
    client = connect(server.url)
    tracemalloc.start()
    try:
        with pytest.raises(VonageReportsError):
            call(client)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("call", "limit"), [(get, 1_000_000), (list_, 8_000_000)])
def test_long_answer_is_unavailable(call: Call, limit: int, serve: Serve, connect: Connect) -> None:
    document = {**PENDING, "reports": [PENDING], "x": "y" * limit}
    server = serve(json_answer(document), chunked(json.dumps(document).encode(), 50_000))
    for _ in range(2):
        with pytest.raises(VonageUnavailable, match=f"more than {limit} bytes"):
            call(connect(server.url))


def test_list_of_several_megabytes_is_read(serve: Serve, connect: Connect) -> None:
    reports = [{**PENDING, "request_id": f"r{n}"} for n in range(50_000)]
    server = serve(json_answer({"reports": reports, "items_count": 50_000}))
    assert len(list_(connect(server.url)).reports) == 50_000


@every_call
@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Slow: ",
        b"HTTP/1.1 403 No\r\nContent-Length: 9999\r\n\r\n{",
        b"HTTP/1.1 503 No\r\nContent-Length: 9999\r\n\r\n{",
    ],
)
def test_dripping_answer_is_given_up(
    call: Call, head: bytes, serve: Serve, connect: Connect
) -> None:
    server = serve(Bytes(head, "drip"))
    with pytest.raises(VonageReportsError):
        call(connect(server.url, answer_timeout=SHORT))


@every_json_call
@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{"])
def test_dripping_body_is_given_up(call: Call, head: bytes, serve: Serve, connect: Connect) -> None:
    server = serve(Bytes(head, "drip"))
    with pytest.raises((VonageUnavailable, SubmissionUnknown), match=r"not complete after 0\.2"):
        call(connect(server.url, answer_timeout=SHORT))


def test_dripping_head_over_tls_is_given_up(
    serve: Serve, connect: Connect, tls: ssl.SSLContext
) -> None:
    server = serve(Bytes(b"HTTP/1.1 200 OK\r\nX-Slow: ", "drip"), tls=tls)
    with pytest.raises(SubmissionUnknown):
        create(connect(server.url, answer_timeout=SHORT))


# The status of a report


def test_single_form_is_parsed(serve: Serve, connect: Connect) -> None:
    server = serve(
        json_answer(
            {
                **PENDING,
                "request_status": "SUCCESS",
                "status": "delivered",
                "product": "SMS",
                "account_id": API_KEY,
                "include_subaccounts": False,
                "date_start": "2019-02-27T00:00:00+0000",
                "date_end": "2019-02-28T00:00:00+00:00",
                "receive_time": "2019-06-17T18:39:06.500+02:00",
                "start_time": "2019-06-17T16:39:06Z",
                "items_count": 45544,
                "_links": {
                    "self": {"href": f"https://api.nexmo.com/v2/reports/{REQUEST_ID}"},
                    "download_report": {"href": "https://api.nexmo.com/v3/media/file-1"},
                },
            }
        )
    )
    report = get(connect(server.url))
    assert report.request_id == REQUEST_ID
    assert report.state is RequestStatus.SUCCESS
    assert (report.product, report.account_id) == ("SMS", API_KEY)
    assert not report.include_subaccounts
    assert report.date_start == datetime(2019, 2, 27, tzinfo=UTC)
    assert report.date_end == datetime(2019, 2, 28, tzinfo=UTC)
    assert report.receive_time == datetime(2019, 6, 17, 16, 39, 6, 500_000, tzinfo=UTC)
    assert report.items_count == 45544
    assert report.file_id == "file-1"
    assert report.echo["status"] == "delivered"


def test_list_form_is_parsed_as_the_requested_report(
    simulator: Simulator, connect: Connect
) -> None:
    client = connect_to_simulator(simulator, connect)
    report = ended(client, create(client))
    simulator.fault("get", "list_form")
    assert client.get_report(report.request_id) == report


def test_list_form_of_several_reports_is_searched(serve: Serve, connect: Connect) -> None:
    other = {"request_id": "other", "request_status": "FAILED"}
    server = serve(json_answer({"reports": [other, None, PENDING]}))
    assert get(connect(server.url)).state is RequestStatus.PENDING


@pytest.mark.parametrize(
    "document",
    [
        {"reports": []},
        {"reports": None},
        {"reports": [{"request_id": "other", "request_status": "SUCCESS"}]},
        {"request_status": "SUCCESS"},
        {"request_id": None, "request_status": "SUCCESS"},
        {"request_id": REQUEST_ID.upper(), "request_status": "SUCCESS"},
        {"request_id": "another", "request_status": "SUCCESS"},
        [PENDING],
        "PENDING",
    ],
)
def test_answer_without_the_report_is_unavailable(
    document: object, serve: Serve, connect: Connect
) -> None:
    server = serve(json_answer(document))
    with pytest.raises(VonageUnavailable) as unavailable:
        get(connect(server.url))
    assert unavailable.value.is_unusable_answer


@pytest.mark.parametrize("status", ["success", "Success", " SUCCESS "])
def test_status_is_read_without_regard_to_case(status: str, serve: Serve, connect: Connect) -> None:
    server = serve(json_answer({**PENDING, "request_status": status}))
    assert get(connect(server.url)).state is RequestStatus.SUCCESS


@pytest.mark.parametrize("status", ["", None, 5, True, ["SUCCESS"], {}, "S" * 101])
def test_unreadable_status_is_no_end(status: object, serve: Serve, connect: Connect) -> None:
    server = serve(json_answer({**PENDING, "request_status": status}))
    report = get(connect(server.url))
    with pytest.raises(VonageUnavailable, match="readable request_status"):
        _ = report.state


@pytest.mark.parametrize("status", ["QUEUED", "done"])
def test_unknown_status_raises_an_error_that_names_it(
    status: object, serve: Serve, connect: Connect
) -> None:
    server = serve(json_answer({"request_id": REQUEST_ID, "request_status": status}))
    report = get(connect(server.url))
    with pytest.raises(ReportFailed) as failed:
        _ = report.state
    assert repr(status) in str(failed.value)


def test_filtered_status_is_not_the_reports_state(serve: Serve, connect: Connect) -> None:
    server = serve(json_answer({**PENDING, "status": "SUCCESS"}))
    assert get(connect(server.url)).state is RequestStatus.PENDING


def test_missing_fields_are_none(serve: Serve, connect: Connect) -> None:
    server = serve(json_answer(PENDING))
    report = get(connect(server.url))
    assert report == ReportRequest(
        request_id=REQUEST_ID,
        request_status=RequestStatus.PENDING,
        product=None,
        account_id=None,
        include_subaccounts=None,
        date_start=None,
        date_end=None,
        receive_time=None,
        items_count=None,
        file_id=None,
        echo=PENDING,
    )


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("2020-06-04T10:53:32+0000", datetime(2020, 6, 4, 10, 53, 32, tzinfo=UTC)),
        ("2020-06-04T10:53:32+00:00", datetime(2020, 6, 4, 10, 53, 32, tzinfo=UTC)),
        ("2020-06-04T10:53:32Z", datetime(2020, 6, 4, 10, 53, 32, tzinfo=UTC)),
        ("2020-06-04T12:53:32.250+0200", datetime(2020, 6, 4, 10, 53, 32, 250_000, tzinfo=UTC)),
        ("2020-06-04T10:53:32", None),  # without a time zone
        ("yesterday", None),
        (1591268012, None),
        (["2020-06-04T10:53:32Z"], None),
        (None, None),
        ("0001-01-01T00:00:00+01:00", None),  # before datetime's first instant
    ],
)
def test_times_are_instants_or_none(
    said: object, meant: datetime | None, serve: Serve, connect: Connect
) -> None:
    server = serve(json_answer({**PENDING, "receive_time": said}))
    assert get(connect(server.url)).receive_time == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (0, 0),
        (7_000_000, 7_000_000),
        (None, None),
        ("many", None),
        ([], None),
        (True, None),
        (1.5, None),
        (-1, None),
        (10**16, None),
    ],
)
def test_items_count_is_an_integer_or_none(
    said: object, meant: int | None, serve: Serve, connect: Connect
) -> None:
    server = serve(json_answer({**PENDING, "items_count": said}))
    items = get(connect(server.url)).items_count
    assert items == meant
    assert type(items) is type(meant)


@pytest.mark.parametrize(
    ("said", "meant"),
    [(True, True), ("true", True), ("False", False), (1, None), ("yes", None), ([True], None)],
)
def test_booleans_may_be_strings(
    said: object, meant: object, serve: Serve, connect: Connect
) -> None:
    server = serve(json_answer({**PENDING, "include_subaccounts": said}))
    assert get(connect(server.url)).include_subaccounts is meant


FILE = "aaaaaaaa-bbbb-cccc-dddd-0123456789ab"


@pytest.mark.parametrize(
    ("href", "file_id"),
    [
        (f"https://api.nexmo.com/v3/media/{FILE}", FILE),
        (f"/v3/media/{FILE}", FILE),
        (f"https://api.nexmo.com/v3/media/{FILE}/", FILE),
        (f"https://evil.example/steal/{FILE}", FILE),
        (f"https://api.nexmo.com@evil.example/v3/media/{FILE}", FILE),
        (f"https://api.nexmo.com/v3/media/{FILE}?to=https://evil.example/x", FILE),
        (f"https://api.nexmo.com/v3/media/{FILE}#/v3/media/x", FILE),
        (f"https://api.nexmo.com/v3/media/../../v2/reports/{FILE}", FILE),
        (f"file:///etc/{FILE}", FILE),
        ("https://api.nexmo.com/", None),
        ("https://api.nexmo.com", None),
        ("", None),
        (None, None),
        (5, None),
        ({"href": FILE}, None),
        ("https://[evil/v3/media/x", None),  # invalid URL
        ("https://api.nexmo.com/v3/media/..", None),
        ("https://api.nexmo.com/v3/media/a b", None),
        ("https://api.nexmo.com/v3/media/" + "a" * 129, None),
    ],
)
def test_only_the_last_segment_of_a_link_is_used(
    href: object, file_id: str | None, serve: Serve, connect: Connect
) -> None:
    server = serve(json_answer({**PENDING, "_links": {"download_report": {"href": href}}}))
    assert get(connect(server.url)).file_id == file_id


@pytest.mark.parametrize(
    "links", [None, [], "x", {}, {"download_report": None}, {"download_report": "x"}, {"self": {}}]
)
def test_malformed_links_are_ignored(links: object, serve: Serve, connect: Connect) -> None:
    server = serve(json_answer({**PENDING, "_links": links}))
    assert get(connect(server.url)).file_id is None


def test_missing_link_is_none(simulator: Simulator, connect: Connect) -> None:
    simulator.fault("get", "no_link", times=None)
    client = connect_to_simulator(simulator, connect)
    report = ended(client, create(client))
    assert report.state is RequestStatus.SUCCESS
    assert report.file_id is None


# The list


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"reports": None},
        {"reports": {}},
        {"reports": "x", "items_count": 0},
    ],
)
def test_answer_without_a_list_is_unavailable(
    document: object, serve: Serve, connect: Connect
) -> None:
    server = serve(json_answer(document))
    with pytest.raises(VonageUnavailable):
        list_(connect(server.url))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"items_count": 2},
        {"items_count": "1"},
        {"items_count": True},
        {"items_count": -1},
        {"items_count": None},
        {"items_count": 1, "_links": {"next": {"href": "https://api.nexmo.com/v2/reports?p=2"}}},
        {"items_count": 1, "_links": {"next": "/v2/reports?p=2"}},
    ],
)
def test_incomplete_list_proves_no_absence_but_has_its_reports(
    more: dict[str, object], serve: Serve, connect: Connect
) -> None:
    server = serve(json_answer({"reports": [PENDING], **more}))
    listed = list_(connect(server.url))
    assert not listed.is_complete
    assert [each.request_id for each in listed.reports] == [REQUEST_ID]


@pytest.mark.parametrize("links", [None, {}, {"next": None}, {"next": {}}, {"self": {}}, "x"])
def test_counted_list_without_a_next_page_is_complete(
    links: object, serve: Serve, connect: Connect
) -> None:
    server = serve(json_answer({"reports": [PENDING], "items_count": 1, "_links": links}))
    assert list_(connect(server.url)).is_complete


@pytest.mark.parametrize("entry", ["x", None, [], {}, {"request_id": "a/b"}, {"request_id": 5}])
def test_unreadable_entry_of_a_list_is_not_overlooked(
    entry: object, serve: Serve, connect: Connect
) -> None:
    server = serve(json_answer({"reports": [entry, PENDING], "items_count": 2}))
    assert [each.request_id for each in list_(connect(server.url)).reports] == ["", REQUEST_ID]


@pytest.mark.parametrize("status", ["QUEUED", None, ["SUCCESS"], 5])
def test_listed_report_with_unknown_status_is_not_overlooked(
    status: object, serve: Serve, connect: Connect
) -> None:
    """Otherwise an existing report looks absent, and is created and billed twice."""
    listed = {"request_id": REQUEST_ID, "request_status": status, "product": "SMS"}
    server = serve(json_answer({"reports": [PENDING, listed]}))
    found = connect(server.url).list_reports(API_KEY)
    assert [each.product for each in found.reports] == [None, "SMS"]


def test_list_sends_no_start_date(serve: Serve, connect: Connect) -> None:
    server = serve(json_answer({"reports": []}))
    connect(server.url).list_reports(API_KEY)
    query = parse_qs(urlsplit(server.requests[0].target).query)
    assert query.keys() == {"account_id", "status"}


# No answer, and the text of errors


@every_json_call
@pytest.mark.parametrize(
    "said",
    [
        Bytes(),
        Bytes(then="reset"),
        Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
        answer(200, b"<html>hello</html>", content_type="text/html"),
        answer(200, b'{"request_id": "a'),
        problem(500, "Internal error", "Try later"),
        answer(502, b"<html>", content_type="text/html"),
        answer(599),
        Bytes(b"nonsense\r\n\r\n"),
    ],
)
def test_broken_answer_means_that_vonage_is_unavailable(
    call: Call, said: Bytes, serve: Serve, connect: Connect
) -> None:
    server = serve(said, ANSWERS[call])
    with pytest.raises((VonageUnavailable, SubmissionUnknown)):
        call(connect(server.url))
    assert len(server.requests) == 1, "retries belong to the workflow"


@every_json_call
def test_stalled_answer_times_out(call: Call, serve: Serve, connect: Connect) -> None:
    server = serve(Bytes(then="stall"))
    with pytest.raises((VonageUnavailable, SubmissionUnknown), match="Timeout"):
        call(connect(server.url, patience=SHORT))


@every_call
def test_missing_server_is_unreachable(call: Call, serve: Serve, connect: Connect) -> None:
    with serve() as server:
        url = server.url
    with pytest.raises(VonageUnreachable):
        call(connect(url))


def test_untrusted_certificate_is_unreachable(
    serve: Serve, connect: Connect, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    server = serve(json_answer(CREATED), tls=tls)
    with pytest.raises(VonageUnreachable):
        create(connect(server.url))
    assert server.requests == []


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", None])
def test_refused_tls_handshake_is_unreachable(said: bytes | None, connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        threading.Thread(target=hang_up_on_tls, args=(listener, said), daemon=True).start()
        with pytest.raises(VonageUnreachable):
            create(connect(f"https://localhost:{port}", patience=SHORT if said is None else 10))


def hang_up_on_tls(listener: socket.socket, said: bytes | None) -> None:
    """Answer a ClientHello with `said` and hang up; None: never answer."""
    connection, _ = listener.accept()
    with connection, contextlib.suppress(OSError):
        connection.recv(4096)
        if said is None:
            connection.recv(4096)
        else:
            connection.sendall(said)


def test_dead_proxy_is_unreachable(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve() as server:
        monkeypatch.setenv("HTTPS_PROXY", server.url)
    with pytest.raises(VonageUnreachable):
        create(connect("https://api.nexmo.com"))


@pytest.mark.parametrize("said", [answer(407), answer(403), answer(502), Bytes()])
def test_proxy_that_refuses_the_tunnel_is_unreachable(
    said: Bytes, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(said)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    with pytest.raises(VonageUnreachable):
        create(connect("https://api.nexmo.com"))
    assert [request.method for request in proxy.requests] == ["CONNECT"]


@pytest.mark.parametrize("then", ["close", "reset", "stall"])
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
def test_post_that_is_cut_after_the_handshake_is_unknown(
    said: bytes, then: str, serve: Serve, connect: Connect, tls: ssl.SSLContext
) -> None:
    server = serve(Bytes(said, then), tls=tls)
    with pytest.raises(SubmissionUnknown):
        create(connect(server.url, patience=SHORT if then == "stall" else 10))
    assert len(server.requests) == 1


def test_earlier_failure_to_connect_proves_nothing_of_a_later_post(
    serve: Serve, connect: Connect
) -> None:
    with serve() as dead:
        url = dead.url
    server = serve(Bytes())
    try:
        get(connect(url))
    except VonageUnreachable:
        with pytest.raises(SubmissionUnknown):
            create(connect(server.url))


def test_each_request_has_its_own_connection(connect: Connect) -> None:
    """A kept connection goes stale while Lambda freezes the function, which loses a POST."""
    clients = set()

    class KeepsConnections(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            clients.add(self.client_address)
            self.send_response_only(200)
            self.send_header("Content-Length", "18")
            self.end_headers()
            self.wfile.write(b'{"request_id":"r"}')

    with ThreadingHTTPServer(("127.0.0.1", 0), KeepsConnections) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        client = connect(f"http://127.0.0.1:{server.server_port}")
        for _ in range(2):
            client.get_report("r")
        server.shutdown()
        thread.join()
    assert len(clients) == 2


ERRORS = {
    "wrong credentials": WRONG_CREDENTIALS,
    "refused": problem(403, "Forbidden", "Not yours"),
    "not known": problem(404, "Invalid report ID", "It does not exist"),
    "too many": answer(429, b"{}", Retry_After="3"),
    "internal": problem(500, "Internal error", "Try later"),
    "closed": Bytes(),
    "reset": Bytes(then="reset"),
    "cut": json_answer(PENDING).cut(-3),
    "nonsense": Bytes(b"nonsense\r\n\r\n"),
    "redirected": answer(302, Location="http://elsewhere.example/v3/media/file-1"),
}


@every_call
@pytest.mark.parametrize("said", ERRORS.values(), ids=ERRORS.keys())
def test_no_error_shows_the_secret_the_header_or_the_url(
    call: Call, said: Bytes, serve: Serve, connect: Connect
) -> None:
    server = serve(said, said, said)
    with pytest.raises(VonageReportsError) as raised:
        call(connect(server.url))
    text = str(raised.value)
    for private in (API_SECRET, basic(API_KEY, API_SECRET)[6:], "Authorization", API_KEY):
        assert private not in text
    assert "http://" not in text
    assert str(server.port) not in text
    # The log contains the causes too.
    trace = "".join(traceback.format_exception(raised.value))
    assert API_SECRET not in trace
    assert basic(API_KEY, API_SECRET)[6:] not in trace


# Where credentials may go


@pytest.mark.parametrize(
    "url",
    [
        "http://api.nexmo.com",
        "http://127.0.0.1.evil.example",
        "http://127.0.0.1@evil.example",
        "http://localhost.evil.example:8080",
        "http://192.168.1.5",
        "http://0.0.0.0:80",
        "ftp://localhost",
        "localhost:8080",
        "//api.nexmo.com",
        "api.nexmo.com",
        "",
        "https://",
        "https://[api.nexmo.com",
    ],
)
def test_credentials_are_sent_to_https_or_loopback_only(url: str) -> None:
    with pytest.raises(InvalidRequest, match="VONAGE_BASE_URL"):
        VonageClient(url, Keys(), pacer=Pacer(0))


@pytest.mark.parametrize(
    "url",
    [
        "https://api.nexmo.com",
        "https://api.nexmo.com/",
        "https://192.168.1.5:8443",
        "http://127.0.0.1:8080",
        "http://localhost:8080",
        "http://[::1]:8080",
    ],
)
def test_https_and_loopback_are_accepted(url: str, connect: Connect) -> None:
    connect(url)


def test_trailing_slash_of_the_base_url_is_ignored(serve: Serve, connect: Connect) -> None:
    server = serve(json_answer(PENDING))
    get(connect(server.url + "/"))
    assert server.requests[0].target == f"/v2/reports/{REQUEST_ID}"


def test_nothing_is_sent_without_readable_credentials(serve: Serve, connect: Connect) -> None:
    def unreadable(_fresh: bool) -> Credentials:  # noqa: FBT001 - the client's contract
        raise InvalidRequest("the secret has no value yet")

    server = serve(json_answer(CREATED))
    with pytest.raises(InvalidRequest):
        create(connect(server.url, unreadable))
    assert server.requests == []


def test_error_before_the_request_is_not_submission_unknown(serve: Serve, connect: Connect) -> None:
    """A timeout of Secrets Manager is a urllib3 error too, but does not concern Vonage."""

    def unreadable(_fresh: bool) -> Credentials:  # noqa: FBT001 - the client's contract
        raise ReadTimeoutError(endpoint_url="https://secretsmanager.eu-west-1.amazonaws.com/")

    server = serve(json_answer(CREATED))
    with pytest.raises(ReadTimeoutError):
        create(connect(server.url, unreadable))
    assert server.requests == []
