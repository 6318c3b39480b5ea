"""The simulator over HTTP: life cycle, errors, archive, bill, gauge, limits, expiry."""

import csv
import hashlib
import io
import json
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import jsonschema
import pytest
import requests
import yaml

from local.simulator.faults import DISTORTED_LISTS
from local.simulator.process import Simulator
from local.simulator.products import PRODUCTS, Direction
from tests.support.paths import ROOT
from vonage_reports.domain.errors import VonageUnavailable
from vonage_reports.vonage.answers import subaccount_list

SPEC = ROOT.parent / "shared" / "spec"
ACCOUNT, SUBACCOUNT = "abcd1234", "sub00001"
ALL_STATUSES = "PENDING,PROCESSING,SUCCESS,ABORTED,FAILED,TRUNCATED"
HOUR, DAY = 3600, 86_400

needs_spec = pytest.mark.skipif(not SPEC.exists(), reason="needs the OpenAPI texts")


class Vonage:
    """A thin client of the simulated API."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.session = requests.Session()
        self.session.auth = (simulator.api_key, simulator.api_secret)
        self.session.headers["User-Agent"] = "tests"

    def request(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        data: bytes | None = None,
        params: dict[str, str] | None = None,
    ) -> requests.Response:
        url = self.simulator.url + path
        return self.session.request(method, url, json=json, data=data, params=params, timeout=30)

    def post(self, **body: object) -> requests.Response:
        return self.request("POST", "/v2/reports", json=body)

    def create(self, **changes: object) -> str:
        response = self.post(**{**sms_day(), **changes})
        assert response.status_code == 200, response.text
        return str(response.json()["request_id"])

    def get(self, request_id: str) -> dict[str, Any]:
        document: dict[str, Any] = self.request("GET", f"/v2/reports/{request_id}").json()
        return document

    def finish(self, request_id: str) -> dict[str, Any]:
        """Advance the clock past the report's end and wait until it is rendered."""
        self.simulator.advance(10)
        deadline = time.monotonic() + 30
        while (report := self.get(request_id))["request_status"] in {"PENDING", "PROCESSING"}:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        return report

    def download(self, report: dict[str, Any]) -> requests.Response:
        href = report["_links"]["download_report"]["href"]
        return self.request("GET", href.removeprefix("https://api.nexmo.com"))

    def csv_of(self, report: dict[str, Any]) -> str:
        with zipfile.ZipFile(io.BytesIO(self.download(report).content)) as archive:
            (name,) = archive.namelist()
            return archive.read(name).decode()

    def rows_of(self, report: dict[str, Any]) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.csv_of(report), newline="")))

    def listed(self, **query: str) -> requests.Response:
        return self.request(
            "GET", "/v2/reports", params={"account_id": ACCOUNT, "status": ALL_STATUSES, **query}
        )


def day(days_ago: int) -> str:
    return time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(time.time() - days_ago * DAY))


def sms_day(days_ago: int = 5) -> dict[str, Any]:
    return {
        "product": "SMS",
        "account_id": ACCOUNT,
        "direction": "outbound",
        "date_start": day(days_ago),
        "date_end": day(days_ago - 1),
    }


@pytest.fixture(scope="module")
def process() -> Iterator[Simulator]:
    with Simulator(accounts=(SUBACCOUNT,), rows_per_day=200, requests_per_second=0) as simulator:
        yield simulator


@pytest.fixture
def vonage(process: Simulator) -> Iterator[Vonage]:
    process.reset()
    client = Vonage(process)
    with client.session:
        yield client


# The life cycle


def test_post_answer_lacks_start_time_and_items_count(vonage: Vonage) -> None:
    report = vonage.post(**sms_day()).json()
    assert report["request_status"] == "PENDING"
    assert report.keys() & {"start_time", "items_count", "status"} == set()
    assert report["_links"] == {
        "self": {"href": f"https://api.nexmo.com/v2/reports/{report['request_id']}"}
    }
    assert report["include_subaccounts"] is False
    assert report["include_message"] is False


def test_trailing_slash_makes_no_difference(vonage: Vonage) -> None:
    assert vonage.request("POST", "/v2/reports/", json=sms_day()).status_code == 200


def test_report_goes_through_pending_processing_success(vonage: Vonage) -> None:
    vonage.simulator.settings(seconds_per_report=100)
    request_id = vonage.create()
    first = vonage.get(request_id)
    vonage.simulator.advance(50)
    second = vonage.get(request_id)
    vonage.simulator.advance(50)
    third = vonage.finish(request_id)
    assert [r["request_status"] for r in (first, second, third)] == [
        "PENDING",
        "PROCESSING",
        "SUCCESS",
    ]
    assert "start_time" not in first
    assert "start_time" in second
    assert "items_count" not in second
    assert "download_report" not in second["_links"]
    assert third["items_count"] == 200


def test_report_with_many_rows_takes_longer(vonage: Vonage) -> None:
    vonage.simulator.settings(rows_per_second=1)
    request_id = vonage.create()
    vonage.simulator.advance(150)
    assert vonage.get(request_id)["request_status"] == "PROCESSING"
    vonage.simulator.advance(51)
    assert vonage.finish(request_id)["request_status"] == "SUCCESS"


def test_ids_and_timestamps_come_in_both_forms(vonage: Vonage) -> None:
    vonage.simulator.settings(jobs_limit=10)
    reports = [vonage.post(**sms_day()).json() for _ in range(6)]
    ids = [report["request_id"] for report in reports]
    assert [request_id.startswith("ri3p58f-") for request_id in ids] == [False, False, True] * 2
    assert all(re.fullmatch(r"(ri3p58f-)?[0-9a-f-]{36}", request_id) for request_id in ids)
    endings = [report["receive_time"][19:] for report in reports]
    assert endings == ["+00:00", "+0000"] * 3
    assert reports[0]["date_start"][19:] == "+00:00"


def test_filters_are_echoed(vonage: Vonage) -> None:
    report = vonage.post(**sms_day(), status="delivered", country="GB").json()
    assert (report["status"], report["country"]) == ("delivered", "GB")
    assert report["request_status"] == "PENDING"
    assert "client_ref" not in report


def test_report_is_cancelled_only_once(vonage: Vonage) -> None:
    request_id = vonage.create()
    answer = vonage.request("DELETE", f"/v2/reports/{request_id}")
    assert answer.status_code == 200
    assert answer.json()["request_status"] == "ABORTED"
    assert vonage.get(request_id)["request_status"] == "ABORTED"
    again = vonage.request("DELETE", f"/v2/reports/{request_id}")
    assert again.status_code == 409
    assert again.json()["type"].endswith("#invalid-abort-operation")
    assert vonage.simulator.state()["bill"]["records_total"] == 0


def test_large_report_is_truncated_to_newest_records(vonage: Vonage) -> None:
    whole = vonage.rows_of(vonage.finish(vonage.create()))
    vonage.simulator.settings(max_records=50)
    report = vonage.finish(vonage.create())
    assert (report["request_status"], report["items_count"]) == ("TRUNCATED", 50)
    assert vonage.rows_of(report) == whole[:50]


def test_file_and_report_expire(vonage: Vonage) -> None:
    report = vonage.finish(vonage.create())
    vonage.simulator.advance(71 * HOUR)
    assert vonage.download(report).status_code == 200
    vonage.simulator.advance(1 * HOUR)
    assert vonage.download(report).status_code == 404
    assert vonage.get(report["request_id"])["request_status"] == "SUCCESS"
    vonage.simulator.advance(24 * HOUR)
    gone = vonage.request("GET", f"/v2/reports/{report['request_id']}")
    assert gone.status_code == 404
    assert gone.json()["detail"].startswith(f"Report {report['request_id']} does not exist")
    assert vonage.listed().json()["reports"] == []


# The archive


def test_archive_has_documented_name_and_headers(vonage: Vonage) -> None:
    report = vonage.finish(vonage.create())
    response = vonage.download(report)
    today = vonage.simulator.state()["reports"][0]["receive_time"][:10].replace("-", "")
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert int(response.headers["Content-Length"]) == len(response.content)
    assert f"SMS_{report['request_id']}.zip" in response.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"report_SMS_{ACCOUNT}_{today}.csv"]
        assert archive.infolist()[0].flag_bits == 0x0808


def test_state_has_size_and_checksum_of_archive(vonage: Vonage) -> None:
    content = vonage.download(vonage.finish(vonage.create())).content
    (report,) = vonage.simulator.state()["reports"]
    assert report["bytes"] == len(content)
    assert report["sha256"] == hashlib.sha256(content).hexdigest()


def test_csv_quotes_every_field_and_ends_lines_with_lf(vonage: Vonage) -> None:
    text = vonage.csv_of(vonage.finish(vonage.create()))
    assert text.endswith('"\n')
    assert "\r" not in text
    lines = text.splitlines()
    assert len(lines) == 201
    assert all(re.fullmatch(r'"[^"]*"(,"[^"]*")*', line) for line in lines)
    assert '""' in lines[1]


@pytest.mark.parametrize("product", PRODUCTS)
def test_every_product_is_served(vonage: Vonage, product: str) -> None:
    definition = PRODUCTS[product]
    body = {**sms_day(), "product": product}
    streams = 1
    if definition.direction is not Direction.REQUIRED:
        del body["direction"]
        streams = len(definition.directions)
    request_id = vonage.post(**body).json()["request_id"]
    report = vonage.finish(request_id)
    rows = vonage.rows_of(report)
    assert len(rows) == report["items_count"] == 200 * streams
    assert list(rows[0]) == list(definition.columns_for(body.get("direction", ""), frozenset()))
    dates = [row[definition.date_column] for row in rows]
    assert dates == sorted(dates, reverse=True)


def test_usage_lists_the_accounts_own_jobs(vonage: Vonage) -> None:
    usage = {"product": "REPORTS-USAGE", "account_id": ACCOUNT, "date_start": day(1)}
    ended = vonage.finish(vonage.create())
    cancelled = vonage.create()
    vonage.request("DELETE", f"/v2/reports/{cancelled}")
    [foreign] = vonage.simulator.jobs(1, 120)
    vonage.create(account_id=SUBACCOUNT)
    vonage.simulator.advance(60)

    answer = vonage.post(**usage)
    rows = vonage.rows_of(vonage.finish(answer.json()["request_id"]))

    own = rows[:3]
    assert [row["id"] for row in own] == [foreign, cancelled, ended["request_id"]]
    assert [row["status"] for row in own] == ["PROCESSING", "ABORTED", "SUCCESS"]
    assert [row["is_charged"] for row in own] == ["FALSE", "FALSE", "TRUE"]
    assert [row["requested_product"] for row in own] == ["REPORTS-USAGE", "SMS", "SMS"]
    assert (own[2]["items_written"], own[2]["total_price"]) == ("200", "0.08")
    assert {row["acc"] for row in own} == {row["master_account_id"] for row in own} == {ACCOUNT}
    assert json.loads(own[2]["request_params"]) == sms_day()
    assert [row["date_finished"] == "" for row in own] == [True, False, False]
    # Other rows are the history before the simulator's start.
    assert all(row["date_received"] <= own[2]["date_received"] for row in rows[3:])
    assert len({row["id"] for row in rows}) == len(rows)


def test_switches_add_columns(vonage: Vonage) -> None:
    report = vonage.finish(vonage.create(include_message=True, show_concatenated=True))
    rows = vonage.rows_of(report)
    assert len(rows) == report["items_count"]
    assert any('"' in row["message_body"] for row in rows)
    assert any("\n" in row["message_body"] for row in rows)
    assert {row["concatenated"] for row in rows} == {"TRUE", "FALSE"}


def test_halves_add_up_to_the_whole(vonage: Vonage) -> None:
    noon = sms_day()["date_start"].replace("T00", "T12")
    whole, early, late = (
        vonage.rows_of(vonage.finish(vonage.create(**changes)))
        for changes in ({}, {"date_end": noon}, {"date_start": noon})
    )
    assert late + early == whole


def test_same_request_returns_same_csv(vonage: Vonage) -> None:
    first, second = (vonage.csv_of(vonage.finish(vonage.create())) for _ in range(2))
    assert first == second


def test_filter_selects_rows(vonage: Vonage) -> None:
    everything = vonage.rows_of(vonage.finish(vonage.create()))
    failed = vonage.rows_of(vonage.finish(vonage.create(status="failed")))
    assert failed
    assert failed == [row for row in everything if row["status"] == "failed"]


def test_report_includes_subaccounts(vonage: Vonage) -> None:
    rows = vonage.rows_of(vonage.finish(vonage.create(include_subaccounts=True)))
    assert {row["account_id"] for row in rows} == {ACCOUNT, SUBACCOUNT}
    assert len(rows) == 400
    own = vonage.rows_of(vonage.finish(vonage.create(account_id=SUBACCOUNT)))
    assert own == [row for row in rows if row["account_id"] == SUBACCOUNT]


def test_future_has_no_records(vonage: Vonage) -> None:
    report = vonage.finish(vonage.create(date_start=day(0), date_end=day(-2)))
    assert report["items_count"] <= 200
    received = vonage.simulator.state()["reports"][0]["receive_time"]
    assert all(row["date_received"] <= received for row in vonage.rows_of(report))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"extra_columns": ["new_1", "new_2"]}, lambda text: ',"new_1","new_2"\n' in text),
        ({"inserted_column": "new"}, lambda text: ',"new","' in text.splitlines()[0]),
        ({"crlf": True}, lambda text: text.count("\r\n") == text.count("\n") == 201),
        ({"final_newline": False}, lambda text: text.count("\n") == 200 and text[-1] == '"'),
    ],
    ids=["extra_columns", "inserted_column", "crlf", "final_newline"],
)
def test_settings_change_csv_format(
    vonage: Vonage, settings: dict[str, Any], expected: Callable[[str], bool]
) -> None:
    vonage.simulator.settings(**settings)
    report = vonage.finish(vonage.create())
    assert expected(vonage.csv_of(report))
    assert len(vonage.rows_of(report)) == report["items_count"] == 200


def test_archive_can_have_several_members(vonage: Vonage) -> None:
    whole = vonage.rows_of(vonage.finish(vonage.create()))
    vonage.simulator.settings(zip_members=3, zip64=True, zip_stored=True)
    content = vonage.download(vonage.finish(vonage.create())).content
    rows: list[dict[str, str]] = []
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert len(archive.namelist()) == 3
        for name in archive.namelist():
            rows += csv.DictReader(io.StringIO(archive.read(name).decode(), newline=""))
    assert rows == whole


@pytest.mark.parametrize(
    ("how", "lines"), [("header_only", 1), ("zero_bytes", 0), ("no_link", None)]
)
def test_empty_report_has_three_forms(vonage: Vonage, how: str, lines: int | None) -> None:
    vonage.simulator.settings(empty_report=how)
    report = vonage.finish(vonage.create(client_ref="unused"))
    assert (report["request_status"], report["items_count"]) == ("SUCCESS", 0)
    if lines is None:
        assert "download_report" not in report["_links"]
    else:
        assert vonage.csv_of(report).count("\n") == lines


# Errors


def test_wrong_credentials_answer_401(vonage: Vonage) -> None:
    url = f"{vonage.simulator.url}/v2/reports/x"
    cases: list[dict[str, Any]] = [
        {},
        {"auth": (ACCOUNT, "wrong")},
        {"headers": {"Authorization": "Bearer abc"}},
        {"params": {"api_key": ACCOUNT, "api_secret": vonage.simulator.api_secret}},
    ]
    for options in cases:
        response = requests.get(url, timeout=30, **options)
        assert response.status_code == 401
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.json()["title"] == "You did not provide correct credentials."
    assert vonage.simulator.state()["violations"] == {
        "credentials_in_url": 1,
        "missing_user_agent": 4,
        "basic_auth_missing": 3,
    }


def test_errors_are_problem_json_with_request_id(vonage: Vonage) -> None:
    vonage.simulator.settings(unprovisioned_products=["AMD"])
    answers = {
        400: vonage.request("POST", "/v2/reports", data=b"{"),
        401: vonage.post(product="AMD", account_id=ACCOUNT),
        403: vonage.post(**sms_day() | {"account_id": "x"}),
        404: vonage.request("GET", "/v3/media/nothing"),
        422: vonage.post(product="SMS", account_id=ACCOUNT),
    }
    for status, response in answers.items():
        assert response.status_code == status
        assert response.headers["Content-Type"] == "application/problem+json"
        assert re.fullmatch(r"[0-9a-f-]{36}", response.headers["X-Request-Id"])
        assert response.json().keys() >= {"type", "title", "instance"}
    assert answers[422].json()["invalid_parameters"] == [
        {"name": "direction", "reason": "Missing required parameter"}
    ]


def test_unknown_paths_answer_404(vonage: Vonage) -> None:
    for path in ("/", "/v1/reports", "/v2/reports/a/b", "/v3/media/"):
        assert vonage.request("GET", path).status_code == 404


# The list


def test_list_selects_by_status_account_and_time(vonage: Vonage) -> None:
    done = vonage.finish(vonage.create())["request_id"]
    waiting = vonage.create()
    listed = vonage.listed().json()
    assert [report["request_id"] for report in listed["reports"]] == [done, waiting]
    assert listed["items_count"] == 2
    assert listed["self_link"].startswith("https://api.nexmo.com/v2/reports?account_id=abcd1234")
    assert [r["request_id"] for r in vonage.listed(status="SUCCESS").json()["reports"]] == [done]
    assert vonage.listed(account_id=SUBACCOUNT).json()["items_count"] == 0
    assert vonage.listed(date_from=day(-1)).json()["items_count"] == 0
    assert vonage.listed(date_to=day(1)).json()["items_count"] == 0


@pytest.mark.parametrize(
    "query", [{"status": "DONE"}, {"status": ""}, {"account_id": ""}, {"date_from": "yesterday"}]
)
def test_list_refuses_bad_parameters(vonage: Vonage, query: dict[str, str]) -> None:
    response = vonage.listed(**query)
    assert response.status_code == 400
    assert response.json()["title"] == "Invalid request parameter"


# Bill, gauge, limits


def test_records_in_two_reports_are_billed_twice(vonage: Vonage) -> None:
    noon = sms_day()["date_start"].replace("T00", "T12")
    vonage.finish(vonage.create())
    assert vonage.simulator.state()["bill"]["records_billed_more_than_once"] == 0
    afternoon = vonage.finish(vonage.create(date_start=noon))["items_count"]
    failed = vonage.finish(vonage.create(status="failed"))["items_count"]
    other = vonage.finish(vonage.create(direction="inbound"))["items_count"]
    bill = vonage.simulator.state()["bill"]
    assert [entry["records"] for entry in bill["reports"]] == [200, afternoon, failed, other]
    assert bill["records_total"] == 200 + afternoon + failed + other
    both = {row["id"] for row in vonage.rows_of(vonage.finish(vonage.create(date_start=noon)))} | {
        row["id"] for row in vonage.rows_of(vonage.finish(vonage.create(status="failed")))
    }
    assert bill["records_billed_more_than_once"] == len(both)


def test_reports_usage_reports_are_free(vonage: Vonage) -> None:
    body = {"product": "REPORTS-USAGE", "account_id": ACCOUNT}
    vonage.finish(vonage.post(**body).json()["request_id"])
    assert vonage.simulator.state()["bill"]["reports"] == []


def test_sixth_report_in_flight_is_refused_and_counted(vonage: Vonage) -> None:
    ids = [vonage.create() for _ in range(5)]
    refused = vonage.post(**sms_day())
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "1"
    state = vonage.simulator.state()
    assert (state["in_flight"], state["max_in_flight"]) == (5, 6)
    for request_id in ids:
        vonage.finish(request_id)
    assert vonage.simulator.state()["in_flight"] == 0
    vonage.create()


def test_sixth_report_can_queue_instead(vonage: Vonage) -> None:
    vonage.simulator.settings(jobs_policy="queue")
    *working, queued = [vonage.create() for _ in range(6)]
    for request_id in working:
        vonage.finish(request_id)
    vonage.simulator.state()
    assert vonage.finish(queued)["request_status"] == "SUCCESS"
    assert vonage.simulator.state()["max_in_flight"] == 6


def test_foreign_reports_take_slots_and_are_listed(vonage: Vonage) -> None:
    ids = vonage.simulator.jobs(4, seconds=60)
    vonage.create()
    assert vonage.post(**sms_day()).status_code == 429
    assert [r["request_id"] for r in vonage.listed().json()["reports"]][:4] == ids
    vonage.simulator.advance(61)
    for request_id in ids:
        vonage.finish(request_id)
    state = vonage.simulator.state()
    assert [report["foreign"] for report in state["reports"]] == [True] * 4 + [False]


def test_requests_above_the_rate_limit_are_refused(vonage: Vonage) -> None:
    vonage.simulator.settings(requests_per_second=1)
    answers = [vonage.listed()]
    while answers[-1].status_code == 200:
        answers.append(vonage.listed())
    limited = answers[-1]
    assert limited.status_code == 429
    assert limited.headers["Retry-After"] == "1"
    assert limited.headers["X-RateLimit-Limit"] == "1"
    assert limited.headers["X-RateLimit-Remaining"] == "0"
    assert int(limited.headers["X-RateLimit-Reset"]) > time.time() * 1000
    state = vonage.simulator.state()
    assert state["max_requests_per_second"] >= 2
    assert state["requests"]["by_operation"]["list"] == len(answers)
    assert state["requests"]["by_status"] == {"200": len(answers) - 1, "429": 1}


# The Subaccounts API

_ACCOUNT = {
    "type": "object",
    "required": ["api_key", "name", "created_at", "suspended"],
    "properties": {
        **{each: {"type": "string"} for each in ("api_key", "name", "primary_account_api_key")},
        **{each: {"type": "boolean"} for each in ("use_primary_account_balance", "suspended")},
        "created_at": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
        **{each: {"type": ["number", "null"]} for each in ("balance", "credit_limit")},
    },
}
"""SubaccountResponse of the OpenAPI text 1.0.8, whose example has the form of the time."""

_ERROR = {"type": "object", "required": ["type", "title", "detail", "instance"]}


def test_sub_accounts_are_listed_as_documented(vonage: Vonage) -> None:
    vonage.simulator.settings(
        created_accounts={"sub00002": "2026-11-20T10:00:00Z", "sub00003": "2026-11-20T10:00:00Z"},
        suspended_accounts=[SUBACCOUNT],
        closed_accounts=["sub00003"],
    )
    found = vonage.request("GET", f"/accounts/{ACCOUNT}/subaccounts").json()["_embedded"]
    jsonschema.validate(found["primary_account"], _ACCOUNT)
    for each in found["subaccounts"]:
        jsonschema.validate(each, _ACCOUNT)
    listed = {each["api_key"]: each["suspended"] for each in found["subaccounts"]}
    assert listed == {SUBACCOUNT: True, "sub00002": False}
    assert found["primary_account"]["api_key"] == ACCOUNT
    assert vonage.post(**{**sms_day(), "account_id": "sub00002"}).status_code == 200
    vonage.simulator.settings(forbidden_accounts=["sub00002"])
    assert vonage.post(**{**sms_day(), "account_id": "sub00002"}).status_code == 403


def test_sub_accounts_are_refused_as_documented(vonage: Vonage) -> None:
    url = f"{vonage.simulator.url}/accounts/{ACCOUNT}/subaccounts"
    unknown = vonage.request("GET", f"/accounts/{SUBACCOUNT}/subaccounts")
    vonage.simulator.settings(subaccounts_api=False)
    refused = [requests.get(url, timeout=30), vonage.request("GET", url.removeprefix(
        vonage.simulator.url)), unknown]  # fmt: skip
    assert [each.status_code for each in refused] == [401, 403, 404]
    for each in refused:
        jsonschema.validate(each.json(), _ERROR)
    assert "is not provisioned to access" in refused[1].json()["detail"]


@pytest.mark.parametrize("how", DISTORTED_LISTS)
def test_every_distorted_list_is_refused_by_the_parser(vonage: Vonage, how: str) -> None:
    vonage.simulator.fault("subaccounts", "distorted", how=how)
    document = vonage.request("GET", f"/accounts/{ACCOUNT}/subaccounts").json()
    with pytest.raises(VonageUnavailable, match="list of sub-accounts cannot be used"):
        subaccount_list(document, ACCOUNT)


# The OpenAPI text of 2.1.17


@cache
def openapi() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((SPEC / "reports-2.1.17.yml").read_text())
    return document


@cache
def digest() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((SPEC / "reports-3.1.4.digest.yml").read_text())
    return document


def resolved(node: Any, document: dict[str, Any]) -> Any:
    if isinstance(node, dict):
        if "$ref" in node:
            target: Any = document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            return resolved(target, document)
        return {key: resolved(value, document) for key, value in node.items()}
    if isinstance(node, list):
        return [resolved(item, document) for item in node]
    return node


@needs_spec
@pytest.mark.parametrize(
    ("schema", "body"),
    [
        ("sms", {"product": "SMS", "direction": "inbound", "status": "failed", "to": "4477"}),
        ("voice_call", {"product": "VOICE-CALL", "direction": "inbound", "network": "23410"}),
        ("websocket_call", {"product": "WEBSOCKET-CALL"}),
        ("number_insight", {"product": "NUMBER-INSIGHT", "number": "447700900000"}),
        ("verify_api", {"product": "VERIFY-API", "network": "23410"}),
        ("messages", {"product": "MESSAGES", "direction": "outbound", "include_message": True}),
        ("asr", {"product": "ASR", "direction": "outbound"}),
    ],
)
def test_answers_match_openapi_schemas(vonage: Vonage, schema: str, body: dict[str, Any]) -> None:
    document = openapi()
    schemas = document["components"]["schemas"]
    response = digest()["async_response_ReportResponseBase"]
    single = resolved(schemas[f"{schema}_response_get_report"], document)
    created = resolved(schemas[f"{schema}_response_create_report"], document)

    answer = vonage.post(account_id=ACCOUNT, **body).json()
    jsonschema.validate(answer, created)
    report = vonage.finish(answer["request_id"])
    jsonschema.validate(report, single)
    assert report.keys() >= set(response["required"])
    assert report["request_status"] in response["request_status"]

    listed = document["components"]["responses"]["list_report_response"]["content"]
    jsonschema.validate(
        vonage.listed().json(), resolved(listed["application/json"]["schema"], document)
    )


@needs_spec
def test_refusals_match_the_digest(vonage: Vonage) -> None:
    errors = digest()["errors"]
    unprocessable = vonage.post(product="SMS", account_id=ACCOUNT).json()
    needed = errors["ErrorResponse"]["required"]
    assert unprocessable.keys() >= {*needed, "detail", "invalid_parameters"}
    unauthorized = requests.get(f"{vonage.simulator.url}/v2/reports", timeout=30).json()
    assert {k: unauthorized[k] for k in errors["401"][0]} == errors["401"][0]
    vonage.simulator.settings(unprovisioned_products=["SMS"])
    unprovisioned = vonage.post(**sms_day()).json()
    assert {k: unprovisioned[k] for k in errors["401"][1]} == errors["401"][1]
