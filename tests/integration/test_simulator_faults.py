"""The simulator's faults, as a client of its API observes them."""

import csv
import http.client
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local.simulator.process import Simulator
from tests.support.simulator import ACCOUNT, SMS, Client

LIST = f"/v2/reports?account_id={ACCOUNT}&status=PENDING,PROCESSING,SUCCESS,FAILED"


@pytest.fixture(scope="module")
def process() -> Iterator[Simulator]:
    with Simulator(rows_per_day=300, requests_per_second=0) as simulator:
        yield simulator


@pytest.fixture
def client(process: Simulator) -> Client:
    process.reset()
    return Client(process)


# Answer faults of all operations


def test_status_answers_without_acting(client: Client) -> None:
    client.simulator.fault("create", "status", status=429, retry_after=15)
    reply = client.create()
    assert reply.status == 429
    assert reply.headers["Retry-After"] == "15"
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert client.reports() == []
    assert client.create().status == 200


def test_status_can_have_any_body(client: Client) -> None:
    client.simulator.fault("get", "status", status=503, body="<html>", content_type="text/html")
    reply = client.get("x")
    assert (reply.status, reply.body) == (503, b"<html>")
    assert reply.headers["Content-Type"] == "text/html"


def test_accept_then_status_acts_first(client: Client) -> None:
    client.simulator.fault("create", "accept_then_status", status=500)
    assert client.create().status == 500
    assert len(client.reports()) == 1


@pytest.mark.parametrize(("fault", "reports"), [("cut", 0), ("accept_then_cut", 1)])
@pytest.mark.parametrize(
    ("reset", "error"),
    [(True, ConnectionResetError), (False, http.client.RemoteDisconnected)],
)
def test_cut_closes_the_connection(
    client: Client, fault: str, reports: int, *, reset: bool, error: type[OSError]
) -> None:
    client.simulator.fault("create", fault, reset=reset)
    with pytest.raises(error):
        client.create()
    assert len(client.reports()) == reports


@pytest.mark.parametrize(("fault", "reports"), [("hang", 0), ("accept_then_hang", 1)])
def test_hang_outlasts_client_timeout(client: Client, fault: str, reports: int) -> None:
    client.simulator.fault("create", fault, seconds=3600)
    with pytest.raises(TimeoutError):
        client.request("POST", "/v2/reports", SMS, timeout=0.1)
    deadline = time.monotonic() + 10
    while len(client.reports()) != reports:
        assert time.monotonic() < deadline


def test_hang_ends_after_its_seconds(client: Client) -> None:
    client.simulator.fault("get", "hang", seconds=0.01)
    with pytest.raises(http.client.RemoteDisconnected):
        client.get("x")


def test_not_json_and_malformed_json_act_first(client: Client) -> None:
    client.simulator.fault("create", "not_json")
    page = client.create()
    assert page.status == 200
    assert page.headers["Content-Type"].startswith("text/html")
    client.simulator.fault("create", "malformed_json")
    broken = client.create()
    assert (broken.status, broken.headers["Content-Type"]) == (200, "application/json")
    with pytest.raises(json.JSONDecodeError):
        broken.json()
    assert len(client.reports()) == 2


def test_list_form_replaces_single_report(client: Client) -> None:
    report = client.finished()
    client.simulator.fault("get", "list_form")
    listed = client.get(report["request_id"]).json()
    assert listed["items_count"] == 1
    assert listed["reports"] == [client.get(report["request_id"]).json()]


# The requests that faults hit


def test_after_and_times_decide_which_requests_are_hit(client: Client) -> None:
    client.simulator.fault("create", "status", status=500, after=1, times=2)
    client.simulator.fault("create", "status", status=502)
    statuses = [client.create().status for _ in range(5)]
    assert statuses == [502, 500, 500, 200, 200]
    assert client.simulator.state()["faults"] == []


def test_times_null_hits_until_cleared(client: Client) -> None:
    client.simulator.fault("get", "status", status=500, times=None)
    assert [client.get("x").status for _ in range(3)] == [500] * 3
    client.simulator.clear_faults()
    assert client.get("x").status == 404


def test_fault_hits_only_matching_reports(client: Client) -> None:
    client.simulator.fault("create", "status", status=500, product="SMS", direction="inbound")
    first = client.create()
    assert first.status == 200
    assert client.create(direction="inbound").status == 500
    second = client.create().json()["request_id"]
    client.simulator.fault("get", "status", status=500, request_id=second)
    assert client.get(first.json()["request_id"]).status == 200
    assert client.get(second).status == 500


def test_request_meets_report_fault_and_answer_fault(client: Client) -> None:
    client.simulator.fault("create", "outcome", request_status="FAILED")
    client.simulator.fault("create", "accept_then_cut")
    with pytest.raises(ConnectionError):
        client.create()
    client.simulator.advance(10)
    (report,) = client.reports()
    assert report["request_status"] == "FAILED"


@pytest.mark.parametrize(
    "fault",
    [
        {"operation": "get", "fault": "explode"},
        {"operation": "create", "fault": "redirect"},
        {"operation": "download", "fault": "body"},
        {"operation": "create", "fault": "imperfect", "how": "blurred"},
        {"operation": "get", "fault": "status", "status": "500"},
        {"operation": "get", "fault": "status", "colour": "red"},
    ],
)
def test_invalid_fault_is_refused(client: Client, fault: dict[str, Any]) -> None:
    reply = client.request("POST", "/control/faults", fault)
    assert reply.status == 400
    assert reply.json()["error"]


# Report faults


@pytest.mark.parametrize("status", ["FAILED", "ABORTED", "EXPLODED"])
def test_outcome_sets_any_final_status(client: Client, status: str) -> None:
    client.simulator.fault("create", "outcome", request_status=status, seconds=60)
    request_id = client.create().json()["request_id"]
    client.simulator.advance(59)
    assert client.get(request_id).json()["request_status"] == "PROCESSING"
    client.simulator.advance(2)
    report = client.get(request_id).json()
    assert report["request_status"] == status
    assert "download_report" not in report["_links"]
    assert client.simulator.state()["bill"]["records_total"] == 0


def test_outcome_can_be_truncated(client: Client) -> None:
    client.simulator.fault("create", "outcome", request_status="TRUNCATED", rows=7)
    report = client.finished()
    assert (report["request_status"], report["items_count"]) == ("TRUNCATED", 7)
    assert client.simulator.state()["bill"]["records_total"] == 7
    assert client.download(report).status == 200


def test_links_can_be_missing_or_early(client: Client) -> None:
    client.simulator.fault("create", "no_link")
    report = client.finished()
    assert "download_report" not in client.get(report["request_id"]).json()["_links"]
    client.simulator.settings(seconds_per_report=1000)
    client.simulator.fault("create", "link_while_processing")
    request_id = client.create().json()["request_id"]
    client.simulator.advance(500)
    early = client.get(request_id).json()
    assert early["request_status"] == "PROCESSING"
    assert "download_report" in early["_links"]
    assert client.download(client.known(request_id)).status == 404


def test_items_count_can_be_wrong_once_or_for_good(client: Client) -> None:
    client.simulator.fault("create", "items_count", delta=3)
    report = client.finished()
    rows = client.simulator.state()["bill"]["records_total"]
    client.simulator.fault("get", "items_count", delta=-1)
    counts = [client.get(report["request_id"]).json()["items_count"] for _ in range(2)]
    assert counts == [rows + 2, rows + 3]


@pytest.mark.parametrize(("how", "content"), [("header_only", 1), ("zero_bytes", 0)])
def test_empty_leaves_out_all_rows(client: Client, how: str, content: int) -> None:
    client.simulator.fault("create", "empty", how=how)
    report = client.finished()
    with zipfile.ZipFile(io.BytesIO(client.download(report).body)) as archive:
        assert archive.read(archive.namelist()[0]).count(b"\n") == content
    assert report["items_count"] == 0


def test_empty_can_mean_no_file(client: Client) -> None:
    client.simulator.fault("create", "empty", how="no_link")
    report = client.finished()
    single = client.get(report["request_id"]).json()
    assert (single["request_status"], single["items_count"]) == ("SUCCESS", 0)
    assert "download_report" not in single["_links"]
    assert client.download(report).status == 404


def test_lag_hides_young_reports_from_the_list(client: Client) -> None:
    client.create()
    client.simulator.fault("list", "lag", seconds=60, times=None)
    assert client.request("GET", LIST).json()["items_count"] == 0
    client.simulator.advance(61)
    assert client.request("GET", LIST).json()["items_count"] == 1


# Imperfect reports


def files_of(client: Client, report: dict[str, Any]) -> dict[str, str]:
    """Return the text of each member, or its bytes as Latin-1 characters."""
    with zipfile.ZipFile(io.BytesIO(client.download(report).body)) as archive:
        return {name: archive.read(name).decode("latin-1") for name in archive.namelist()}


def csv_of(client: Client, *imperfections: str) -> str:
    client.simulator.settings(imperfect=imperfections)
    [text] = files_of(client, client.finished(country="NA")).values()
    return text


def records(text: str, separator: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator))


def test_times_of_two_records_lose_their_offset(client: Client) -> None:
    rows = records(csv_of(client, "times_without_offset"))
    assert [len(row["date_received"]) for row in rows[:3]] == [19, 19, 25]
    assert rows[0]["date_received"][10] == " "


def test_two_records_can_have_one_id_and_an_odd_price(client: Client) -> None:
    perfect = records(csv_of(client))
    rows = records(csv_of(client, "same_id_twice", "price_with_18_places"))
    assert [row["id"] for row in rows] == [
        perfect[0]["id"], *(row["id"] for row in [perfect[0], *perfect[2:]])
    ]  # fmt: skip
    assert [row["total_price"] for row in rows] == [
        "0.060000000000000005", *(row["total_price"] for row in perfect[1:])
    ]  # fmt: skip


def test_fourth_record_can_be_the_third_once_more(client: Client) -> None:
    perfect = records(csv_of(client))
    assert records(csv_of(client, "record_twice")) == [*perfect[:3], perfect[2], *perfect[4:]]


def test_empty_cells_can_be_null_and_texts_have_a_nul(client: Client) -> None:
    perfect = records(csv_of(client))
    rows = records(csv_of(client, "null_words", "nul_in_cells"))
    assert [row["forced_from"] for row in rows[:3]] == ["null", "null", ""]
    assert [row["client_ref"] for row in rows] == [
        f"abc\0efg{row['client_ref']}" for row in perfect
    ]


def test_header_can_be_in_capitals(client: Client) -> None:
    perfect = csv_of(client).split("\n", 1)
    header, rest = csv_of(client, "header_in_capitals").split("\n", 1)
    assert (header, rest) == (perfect[0].upper(), perfect[1])


def test_semicolons_can_separate_cells(client: Client) -> None:
    perfect = records(csv_of(client))
    text = csv_of(client, "semicolons")
    assert text.startswith("account_id;message_id;")
    assert records(text, ";") == perfect


def test_text_can_follow_a_closing_quote(client: Client) -> None:
    lines = csv_of(client, "text_after_closing_quote").splitlines()
    assert ',"Hello" he said,"outbound",' in lines[1]
    assert r',"a \"b\" c","outbound",' in lines[2]


def test_stray_quotes_hide_three_records(client: Client) -> None:
    perfect = records(csv_of(client))
    text = csv_of(client, "stray_quotes")
    assert text.count("\n") == len(perfect) + 1
    assert len(records(text)) == len(perfect) - 3


def test_archive_can_have_other_members_or_none(client: Client) -> None:
    client.simulator.settings(imperfect=["macosx", "readme"])
    names = list(files_of(client, client.finished()))
    assert names[1:] == [f"__MACOSX/._{names[0]}", "README.txt"]
    client.simulator.settings(imperfect=["no_members"])
    report = client.finished()
    assert (files_of(client, report), report["items_count"]) == ({}, 0)


def test_members_can_be_stored_before_their_sizes(client: Client) -> None:
    client.simulator.fault("create", "imperfect", how="stored_with_descriptor")
    content = client.download(client.finished()).body
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        [member] = archive.infolist()
    assert (member.compress_type, member.flag_bits & 8) == (zipfile.ZIP_STORED, 8)


def test_count_can_be_text_and_link_an_array(client: Client) -> None:
    for how in ("count_as_text", "link_as_array"):
        client.simulator.fault("create", "imperfect", how=how)
    counted, linked = (client.get(client.finished()["request_id"]).json() for _ in range(2))
    assert counted["items_count"].isdecimal()
    assert isinstance(linked["items_count"], int)
    assert linked["_links"]["download_report"] == [
        {"href": f"https://api.nexmo.com/v3/media/{client.reports()[1]['file_id']}"}
    ]


# Answer faults of downloads


@pytest.fixture
def report(client: Client) -> dict[str, Any]:
    return client.finished()


@pytest.fixture
def archive(client: Client, report: dict[str, Any]) -> bytes:
    return client.download(report).body


@pytest.mark.parametrize(
    ("how", "n", "expected"),
    [
        ("short_no_error", 1000, lambda archive: archive[:1000]),
        ("longer", 10, lambda archive: archive + b"\0" * 10),
        ("no_length", 0, lambda archive: archive),
        ("chunked", 0, lambda archive: archive),
        (
            "corrupt_byte_at",
            50,
            lambda archive: archive[:50] + bytes([archive[50] ^ 0xFF]) + archive[51:],
        ),
        ("empty", 0, lambda _: b""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_altered_body_arrives_without_error(
    client: Client,
    report: dict[str, Any],
    archive: bytes,
    *,
    how: str,
    n: int,
    expected: Callable[[bytes], bytes],
) -> None:
    client.simulator.fault("download", "body", how=how, n=n)
    reply = client.download(report)
    assert reply.status == 200
    assert reply.body == expected(archive)
    length = None if how in {"no_length", "chunked"} else str(len(reply.body))
    assert reply.headers["Content-Length"] == length
    assert client.download(report).body == archive


@pytest.mark.parametrize("how", ["truncated_with_length", "not_whole_chunked"])
def test_body_can_break_off(
    client: Client, report: dict[str, Any], archive: bytes, how: str
) -> None:
    client.simulator.fault("download", "body", how=how, n=1000)
    with pytest.raises(http.client.IncompleteRead) as broken:
        client.download(report)
    assert broken.value.partial == archive[:1000]


@pytest.mark.parametrize(("how", "type_"), [("html", "text/html"), ("json", "application/json")])
def test_body_can_be_another_document(
    client: Client, report: dict[str, Any], how: str, type_: str
) -> None:
    client.simulator.fault("download", "body", how=how)
    reply = client.download(report)
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith(type_)
    assert not reply.body.startswith(b"PK")


def test_download_can_redirect(client: Client, report: dict[str, Any]) -> None:
    client.simulator.fault("download", "redirect", location="https://cdn.example.com/x.zip")
    reply = client.download(report)
    assert reply.status == 302
    assert reply.headers["Location"] == "https://cdn.example.com/x.zip"


def test_download_can_stall_and_continue(
    client: Client, report: dict[str, Any], archive: bytes
) -> None:
    client.simulator.fault("download", "stall", n=1000, seconds=0.01)
    assert client.download(report).body == archive
    client.simulator.fault("download", "stall", n=1000, seconds=3600)
    with pytest.raises(TimeoutError):
        client.download(report, timeout=0.05)
