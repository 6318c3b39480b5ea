"""The sources of `status`: a DynamoDB table, and the file of the last run."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from mypy_boto3_dynamodb.service_resource import Table

from tests.support.ledger_table import create_ledger_table
from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.definitions_source import DefinitionsSource, WrittenDefinitions
from vonage_reports.aws.ledger import Ledger
from vonage_reports.aws.ledger_items import finished_item
from vonage_reports.aws.ssm import DefinitionsParameter
from vonage_reports.domain.backfill import Backfill, Progress
from vonage_reports.domain.calendar import report_for_window
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.windows import windows_within
from vonage_reports.submit_reports.read_definitions import parse_definitions
from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.status.model import Span, Standing
from vonage_reports_cli.status.sources import LastRun, content_of
from vonage_reports_cli.status.summary import status_of

NOW = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
DEFINITIONS = json.dumps(
    [{"name": "verify", "product": "VERIFY-V2", "window": "hour", "account_ids": ["abcd1234"]}]
)
WRITTEN = WrittenDefinitions(DEFINITIONS, NOW, "the parameter")
((DEFINITION,), _) = parse_definitions(DEFINITIONS, api_key="abcd1234")


@pytest.fixture
def table(aws: None, aws_session: boto3.Session) -> Iterator[Table]:  # noqa: ARG001 - aws: first
    resource = aws_session.resource("dynamodb")
    create_ledger_table(resource.meta.client, "ledger")
    table = resource.Table("ledger")
    yield table
    table.meta.client.close()


def reports(start: str, end: str) -> list[Report]:
    hours = windows_within(
        date.fromisoformat(start), date.fromisoformat(end), DEFINITION.window, "UTC"
    )
    return [
        report_for_window(DEFINITION, "abcd1234", 0, window, rows_per_hour=12.5, now=NOW)
        for window in hours
    ]


def put_finished(table: Table, *finished: Report) -> None:
    with table.batch_writer() as batch:
        for report in finished:
            # The input of the run makes up most of an item.
            done = replace(report, state=State.DELIVERED, rows=7, execution_input="x" * 1400)
            batch.put_item(Item=finished_item(done))


def test_finished_reports_are_read_from_a_date_on(table: Table) -> None:
    two_months = reports("2026-09-01", "2026-11-01")
    put_finished(table, *two_months)
    ledger = Ledger(table)

    since = datetime(2026, 9, 15, tzinfo=UTC)
    found = list(ledger.finished_reports("verify", since=since, unreadable=[]))

    wanted = [report.report_id for report in two_months if report.window.start >= since]
    assert [report.report_id for report in found] == wanted
    # More than one page, which holds a megabyte.
    assert len(wanted) * 1400 > 1_000_000
    assert {(each.rows, each.state, each.expected_rows) for each in found} == {
        (7, State.DELIVERED, None)
    }
    assert list(ledger.finished_reports("verif", since=since, unreadable=[])) == []


def test_saved_ledger_has_same_status_as_table(
    table: Table, aws_session: boto3.Session, tmp_path: Path
) -> None:
    ledger = Ledger(table)
    ledger.record_collects(DEFINITION)
    open_, *finished = reports("2026-11-01", "2026-11-03")
    put_finished(table, *finished[:20], *finished[23:])
    ledger.write(None, open_)
    ledger.move_cursor("verify", "abcd1234", 3, open_.window.end)
    running = Backfill(DEFINITION, date(2026, 10, 1), date(2026, 11, 1), begun_at=NOW)
    ended = replace(running, start=date(2026, 10, 2), progress=Progress.STOPPED)
    ledger.write_all([], (None, running))
    ledger.write_all([], (None, ended))
    last_run = LastRun(tmp_path)
    client = aws_session.client("dynamodb")
    items = client.scan(TableName=table.name)["Items"]
    client.close()

    last_run.write(items, source="a test", is_simulated=True, definitions=DEFINITIONS, as_of=NOW)

    saved = last_run.read()
    from_file = status_of(content_of(saved, saved.definitions, as_of=saved.as_of)).to_dict()
    from_table = status_of(content_of(ledger, WRITTEN, as_of=NOW)).to_dict()
    assert from_file == from_table
    document: dict[str, Any] = from_table
    (row,), (late, problem, unplanned) = document["definitions"], document["problems"]
    assert (unplanned["kind"], unplanned["event"]) == (
        "late",
        {"scheduled_time": "2026-11-22T02:15:00Z"},
    )
    assert (row["delivered"], row["waiting"], row["missing"]) == (44, 1, 3)
    assert (late["kind"], late["report_id"]) == ("late", open_.report_id)
    since = date(2026, 11, 2)
    of_a_day = [
        status_of(content_of(source, definitions, as_of=NOW, since=since)).to_dict()
        for source, definitions in ((saved, saved.definitions), (ledger, WRITTEN))
    ]
    assert of_a_day[0] == of_a_day[1]
    assert problem["event"]["backfill"]["start"] == "2026-11-01"
    assert len(document["backfills"]) == 1


def test_span_begins_with_a_window_and_knows_earlier_accounts(table: Table) -> None:
    ledger = Ledger(table)
    ledger.record_collects(DEFINITION)
    two_days = reports("2026-11-01", "2026-11-03")
    put_finished(table, *two_days[:20], *two_days[30:])

    content = content_of(ledger, WRITTEN, as_of=NOW, since=date(2026, 11, 2))

    midnight = datetime(2026, 11, 2, tzinfo=UTC)
    assert content.spans == {"verify": Span(midnight, frozenset({"abcd1234"}))}
    assert min(each.window.start for each in content.finished["verify"]) > midnight
    (row,) = status_of(content).rows
    # The gap began on the day before.
    assert (row.delivered, row.missing) == (18, 6)


def test_span_before_the_first_report_knows_no_account(table: Table) -> None:
    ledger = Ledger(table)
    ledger.record_collects(DEFINITION)
    put_finished(table, *reports("2026-11-02", "2026-11-03"))

    content = content_of(ledger, WRITTEN, as_of=NOW, since=date(2026, 11, 1))

    assert content.spans["verify"].collected_before == frozenset()
    assert [each.missing for each in status_of(content).rows] == [0]


def test_span_is_never_longer_than_the_records_of_vonage(table: Table) -> None:
    ledger = Ledger(table)
    ledger.record_collects(DEFINITION)
    put_finished(table, *reports("2024-11-01", "2024-11-02"), *reports("2026-11-01", "2026-11-02"))

    content = content_of(ledger, WRITTEN, as_of=NOW, since=date(2020, 1, 1))

    assert content.spans == {}
    assert len(content.finished["verify"]) == 24


def test_list_that_is_refused_is_shown_as_refused(table: Table) -> None:
    ledger = Ledger(table)
    ledger.move_cursor("mine", "abcd1234", 3, NOW)
    ledger.record_collects(replace(DEFINITION, name="mine"))

    found = status_of(content_of(ledger, WRITTEN, as_of=NOW))

    (refusal,) = found.refusals
    assert "has none of the definitions collected so far, as mine" in refusal.reason
    assert [(row.definition, row.standing) for row in found.rows] == [("mine", Standing.REFUSED)]


@pytest.fixture
def source(aws_session: boto3.Session) -> Iterator[DefinitionsSource]:
    """Yield the definitions of a stack whose operator edited the parameter, before an update."""
    s3, ssm = aws_session.client("s3"), aws_session.client("ssm")
    s3.create_bucket(
        Bucket="reports", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    other = json.dumps([{"name": "sms-of-template", "product": "SMS"}])
    for name, text in (
        ("/d", other),
        ("/d", DEFINITIONS),
        ("/d", other),
        ("/d-of-template", other),
    ):
        ssm.put_parameter(Name=name, Value=text, Type="String", Overwrite=True)
    yield DefinitionsSource(Bucket(s3, "reports"), DefinitionsParameter(ssm, "/d"))
    s3.close()
    ssm.close()


def test_pending_take_over_is_shown_with_its_definitions(
    table: Table, source: DefinitionsSource
) -> None:
    ledger = Ledger(table)
    ledger.move_cursor("verify", "abcd1234", 3, NOW)
    ledger.record_collects(DEFINITION)

    found = status_of(content_of(ledger, source, as_of=NOW))

    assert [(row.definition, row.standing) for row in found.rows] == [
        ("verify", Standing.COLLECTED)
    ]
    assert found.warnings[0].startswith(
        "the next pass of submit_reports writes version 2 of the parameter /d as "
        "s3://reports/definitions/report-definitions.json"
    )
    assert source.read_object() is None


def test_take_over_without_a_fitting_version_refuses_the_list(
    table: Table, source: DefinitionsSource
) -> None:
    ledger = Ledger(table)
    for name in ("verify", "lost"):
        ledger.move_cursor(name, "abcd1234", 3, NOW)

    found = status_of(content_of(ledger, source, as_of=NOW))

    (refusal,) = found.refusals
    assert refusal.reason.startswith("the parameter /d lacks definitions that were collected")
    assert found.attention == ["1 refused definition"]


def test_missing_file_error_names_make_run(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no run on this machine yet; start `make run`"):
        LastRun(tmp_path).read()


def test_garbled_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "last-run.json").write_text("{")
    with pytest.raises(BadInput, match=r"last-run\.json cannot be read"):
        LastRun(tmp_path).read()
