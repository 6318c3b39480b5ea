"""Tables and examples in docs/ are those of the code."""

import json
import re
from pathlib import Path

import pytest
import sqlglot

from local.generate_columns import with_columns
from local.stack.package import NAMED_QUERY
from local.stack.template import read_template
from tests.support.contracts import check, check_notification, schema
from tests.support.delivered import Delivered
from tests.support.paths import ROOT
from vonage_dataset.tables import OURS
from vonage_reports.domain import mail, notifications
from vonage_reports.domain.acceptance import Acceptable
from vonage_reports.submit_reports.read_definitions import definitions_schema, parse_definitions
from vonage_reports.submit_reports.requests import REQUESTS, parse_event
from vonage_reports_cli.sql.dataset import Folder, open_dataset

DOCS = ROOT / "docs"
TEMPLATE = read_template(ROOT / "template.yaml")


def text_of(page: str, heading: str | None = None) -> str:
    """Return a page, or the text between a heading and the next one of any level."""
    text = (DOCS / page).read_text()
    if heading is None:
        return text
    # A line that begins with # in a block of code is no heading.
    (part,) = re.findall(
        rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.DOTALL | re.MULTILINE
    )
    return str(part)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def rows(text: str) -> list[list[str]]:
    """Return the cells of the tables, without headers, without backticks."""
    found = []
    lines = [line.strip() for line in text.splitlines()]
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("|") and not line.startswith("|---"):
            found.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
        elif line.startswith("|---") and before.startswith("|"):
            found.pop()
    return found


def names(text: str) -> list[str]:
    return [first for first, *_ in rows(text)]


# objects.md


@pytest.mark.parametrize(("heading", "name"), [("Receipt", "receipt"), ("Manifest", "manifest")])
def test_example_object_fits_its_schema(heading: str, name: str) -> None:
    (block,) = blocks(text_of("objects.md", heading), "json")

    check(name, json.loads(block))


def test_example_notifications_fit_the_schema_and_their_manifest() -> None:
    delivered, failed = map(json.loads, blocks(text_of("objects.md", "Notifications"), "json"))
    (manifest,) = map(json.loads, blocks(text_of("objects.md", "Manifest"), "json"))

    check_notification(failed)
    assert notifications.delivered(manifest, manifest_key=delivered["manifest"]) == delivered


def test_example_mail_is_that_of_the_failure() -> None:
    _, failed = map(json.loads, blocks(text_of("objects.md", "Notifications"), "json"))
    (block,) = blocks(text_of("objects.md", "Mail"), "text")

    mailed = f"Subject: {mail.subject(failed)} {mail.mail_text(failed, stack='prod')}"
    assert block.split() == mailed.split()


def test_every_kind_of_notification_is_documented_once() -> None:
    kinds = [each["$ref"].rpartition("/")[2] for each in schema("notification")["oneOf"]]

    assert names(text_of("objects.md", "Notifications")) == kinds


def test_filter_policy_names_message_attributes() -> None:
    section = text_of("objects.md", "Filter policies")
    (policy,) = map(json.loads, blocks(section, "json"))

    assert set(policy) <= set(notifications.FILTERABLE)
    first, _, _ = section.partition("`definition.refused`")
    assert tuple(re.findall(r"`(\w+)`", first)) == notifications.FILTERABLE


# columns.md


def test_generated_columns_are_up_to_date() -> None:
    page = text_of("columns.md")

    assert with_columns(page) == page


def test_columns_of_the_view_are_those_of_the_template() -> None:
    view = TEMPLATE["Resources"]["UsageView"]["Properties"]["TableInput"]
    columns = [(each["Name"], each["Type"]) for each in view["StorageDescriptor"]["Columns"]]

    documented = [(name, kind) for name, kind, _ in rows(text_of("columns.md", "The view `usage`"))]
    assert documented == columns


def test_columns_that_the_view_with_copies_adds_are_documented() -> None:
    view = TEMPLATE["Resources"]["UsageWithCopiesView"]["Properties"]["TableInput"]
    columns = [(each["Name"], each["Type"]) for each in view["StorageDescriptor"]["Columns"]]
    of_usage = rows(text_of("columns.md", "The view `usage`"))
    added = rows(text_of("columns.md", "The view `usage_with_copies`"))

    assert [(name, kind) for name, kind, _ in (*of_usage, *added)] == columns


def test_columns_of_ours_are_documented() -> None:
    documented = [(name, kind) for name, kind, _ in rows(text_of("columns.md", "Columns of ours"))]

    assert documented == [(column.name, column.type.value) for column in OURS]


# events.md


def test_every_event_is_documented_once() -> None:
    assert sorted(names(text_of("events.md", "Events: what starts something"))) == sorted(
        [*REQUESTS, "run ended"]
    )


def test_every_example_of_an_event_is_linked() -> None:
    linked = re.findall(r"\(\.\./events/(\w+)\.json\)", text_of("events.md"))
    inputs = {"report_workflow", "check_report", "store_report", "convert_report"}

    assert sorted(linked) == sorted({path.stem for path in (ROOT / "events").iterdir()} - inputs)


@pytest.mark.parametrize("key", [key for key in REQUESTS if key != "sweep"])
def test_event_in_a_section_is_that_of_its_heading(key: str) -> None:
    (block,) = blocks(text_of("events.md", f"`{key}`"), "json")

    assert type(parse_event(json.loads(block))) is REQUESTS[key]


def test_everything_acceptable_is_documented() -> None:
    documented = names(text_of("events.md", "What an operator can accept"))

    assert documented == [each.value for each in Acceptable]


# definitions.md


def test_fields_of_a_definition_are_documented_with_their_defaults() -> None:
    fields = definitions_schema()["items"]["properties"]
    documented = {name: default for name, default, _ in rows(text_of("definitions.md", "Fields"))}

    assert list(documented) == list(fields)
    shown = {"account_ids": "the API key", "max_records": "7,000,000", "currency": "none"}
    for name, field in fields.items():
        default = field.get("default", "")
        text = default if isinstance(default, str) else json.dumps(default)
        assert documented[name] == shown.get(name, text)


def test_example_definitions_are_accepted() -> None:
    (block,) = blocks(text_of("definitions.md", "Report definitions: what to collect"), "json")
    definitions, refusals = parse_definitions(block, api_key="abcd1234")

    assert refusals == []
    assert [each.name for each in definitions] == ["sms-outbound"]


# finance.md and consume.md


def test_saved_queries_are_documented() -> None:
    saved = [
        resource["Properties"]["Name"]["Fn::Sub"].removeprefix("${AWS::StackName}-")
        for name, resource in TEMPLATE["Resources"].items()
        if resource["Type"] == NAMED_QUERY
    ]

    assert names(text_of("finance.md", "Athena's saved queries")) == saved


def test_sql_for_athena_runs_on_the_tables(tmp_path: Path) -> None:
    row = {
        "id": "1", "country": "GB", "currency": "EUR", "total_price": "0.05",
        "date_received": "2026-11-19T12:00:00+00:00",
    }  # fmt: skip
    Delivered(tmp_path).deliver("SMS", [row], definition="sms")
    (block,) = blocks(text_of("consume.md", "Athena"), "sql")

    with open_dataset(Folder(tmp_path)) as db:
        ((product, country, currency, cost),) = db.execute(block).fetchall()
    assert (product, country, currency, str(cost)) == ("SMS", "GB", "EUR", "0.05000000")


def test_sql_in_pages_is_read_by_its_grammar() -> None:
    for heading in ("Athena", "Redshift", "BigQuery"):
        found = blocks(text_of("consume.md", heading), "sql")
        assert found, heading
        for block in found:
            # The grammar does not know external schemas of Redshift.
            known = re.sub(r"CREATE EXTERNAL SCHEMA .*?;", "", block, flags=re.DOTALL)
            parsed = sqlglot.parse(known, read=heading.lower())
            assert "Command" not in {type(each).__name__ for each in parsed}
