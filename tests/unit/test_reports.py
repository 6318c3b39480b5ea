import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vonage_reports.domain.errors import ReportFailed
from vonage_reports.domain.reports import (
    Entry,
    Priority,
    Report,
    RequestStatus,
    Revision,
    State,
    definition_of,
    execution_input,
    report_id,
)
from vonage_reports.domain.windows import Window

DAY = Window(
    datetime(2026, 11, 21, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC), "Europe/London"
)
REPORT = Report(
    report_id="sms-outbound-20261121T0000Z-0123456789ab",
    definition="sms-outbound",
    product="SMS",
    account_id="abcd1234",
    include_subaccounts=False,
    filters={"direction": "outbound"},
    window=DAY,
    revision=Revision.FINAL,
    priority=Priority.CALENDAR,
    planned_at=datetime(2026, 11, 25, 2, 15, tzinfo=UTC),
    delay_days=3,
    expected_rows=1200,
    attempt=1,
    request_id="ri3p58f-6c5506b7-f16a-44dc-af06-756bbf467488",
    run=2,
)

names = st.from_regex(r"[a-z0-9-]{1,30}", fullmatch=True)
accounts = st.from_regex(r"[A-Za-z0-9]{1,40}", fullmatch=True)
minutes = st.integers(0, 60 * 24 * 365 * 35)
windows = st.builds(
    lambda start, length: Window(start, start + length, "UTC"),
    minutes.map(lambda count: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(minutes=count)),
    st.sampled_from([timedelta(hours=1), timedelta(days=1), timedelta(days=7)]),
)
identities = st.tuples(
    names, accounts, windows, st.integers(0, 9), st.sampled_from(["", "0", "01"])
)


def identify(identity: tuple[str, str, Window, int, str]) -> str:
    name, account_id, window, delay_index, split_path = identity
    return report_id(
        definition=name,
        account_id=account_id,
        window=window,
        delay_index=delay_index,
        split_path=split_path,
    )


def test_a_report_id_never_changes() -> None:
    # Were it to change, everything that was ever paid for would be bought again.
    said = b"sms-outbound\nabcd1234\n2026-11-21T00:00:00Z\n2026-11-22T00:00:00Z\n0\n"
    digest = hashlib.sha256(said).hexdigest()[:12]

    identity = ("sms-outbound", "abcd1234", DAY, 0, "")

    assert identify(identity) == f"sms-outbound-20261121T0000Z-{digest}"
    assert identify(identity) == "sms-outbound-20261121T0000Z-b8655f943b68"


@given(identities, identities)
def test_different_reports_have_different_ids(
    one: tuple[str, str, Window, int, str], other: tuple[str, str, Window, int, str]
) -> None:
    assert (identify(one) == identify(other)) == (one == other)


@pytest.mark.parametrize(
    "change",
    [
        {"definition": "sms-inbound"},
        {"account_id": "abcd1235"},
        {"window": Window(DAY.start, DAY.end + timedelta(hours=1), DAY.time_zone)},
        {"window": Window(DAY.start + timedelta(hours=1), DAY.end, DAY.time_zone)},
        {"delay_index": 1},
        {"split_path": "0"},
    ],
)
def test_everything_that_makes_a_report_another_one_is_in_its_id(change: dict[str, object]) -> None:
    same = {
        "definition": "sms-outbound",
        "account_id": "abcd1234",
        "window": DAY,
        "delay_index": 0,
        "split_path": "",
    }

    assert report_id(**same) != report_id(**(same | change))  # type: ignore[arg-type]


@given(identities)
def test_an_id_names_its_definition(identity: tuple[str, str, Window, int, str]) -> None:
    assert definition_of(identify(identity)) == identity[0]


@given(identities, st.integers(1, 99_999))
def test_an_id_fits_where_it_is_used(identity: tuple[str, str, Window, int, str], run: int) -> None:
    name = identify(identity)

    assert len(name) <= 64
    # Step Functions: 1 to 80 characters, and to be logged only these.
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,80}", f"{name}-r{run}")


def test_each_run_of_a_report_has_a_name_of_its_own() -> None:
    assert REPORT.execution_name == "sms-outbound-20261121T0000Z-0123456789ab-r2"


def test_a_run_starts_with_all_that_the_workflow_needs() -> None:
    assert json.loads(execution_input(REPORT, Entry.CHECK)) == {
        "report_id": "sms-outbound-20261121T0000Z-0123456789ab",
        "run": 2,
        "attempt": 1,
        "entry": "check",
        "request_id": "ri3p58f-6c5506b7-f16a-44dc-af06-756bbf467488",
        "definition": {
            "name": "sms-outbound",
            "product": "SMS",
            "account_id": "abcd1234",
            "include_subaccounts": False,
            "filters": {"direction": "outbound"},
            "currency": None,
        },
        "window": {
            "start": "2026-11-21T00:00:00Z",
            "end": "2026-11-22T00:00:00Z",
            "time_zone": "Europe/London",
        },
        "revision": "final",
        "delay_days": 3,
        "expected_rows": 1200,
        "planned": "2026-11-25T02:15:00Z",
        "receipts": [],
        "announce": True,
    }


def test_the_same_run_starts_with_the_same_bytes() -> None:
    # StartExecution is idempotent only for a byte-identical input.
    one = replace(REPORT, filters={"direction": "outbound", "country": "GB"})
    read_again = replace(REPORT, filters={"country": "GB", "direction": "outbound"})

    assert execution_input(one, Entry.CHECK) == execution_input(read_again, Entry.CHECK)


@pytest.mark.parametrize(
    "word", ["PENDING", "PROCESSING", "SUCCESS", "TRUNCATED", "FAILED", "ABORTED"]
)
def test_every_status_that_vonage_documents_is_known(word: str) -> None:
    assert RequestStatus.parse(word).value == word


def test_vonage_works_on_a_report_only_while_it_is_pending_or_processing() -> None:
    assert {status.value for status in RequestStatus if not status.is_terminal} == {
        "PENDING",
        "PROCESSING",
    }


@pytest.mark.parametrize("word", ["success", "COMPLETED", "delivered", "", None, 7, ["SUCCESS"]])
def test_a_status_that_nobody_knows_is_an_error_that_quotes_it(word: object) -> None:
    with pytest.raises(ReportFailed, match=re.escape(repr(word))):
        RequestStatus.parse(word)


def test_only_delivered_and_failed_are_ends() -> None:
    assert {state.value for state in State if state.is_end} == {"DELIVERED", "FAILED"}


def test_halves_go_before_the_calendar_and_the_calendar_before_a_backfill() -> None:
    assert sorted(Priority) == [Priority.HALF, Priority.CALENDAR, Priority.BACKFILL]
