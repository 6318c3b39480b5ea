import pytest

from local.runner.confirmation import as_dry_run, describe_dry_run

OUTLOOK = {
    "windows": [
        "2026-10-31T00:00:00Z/2026-11-01T00:00:00Z",
        "2026-10-30T00:00:00Z/2026-10-31T00:00:00Z",
    ],
    "reports": 2,
    "skipped": 0,
    "expected_rows": 86_000,
    "expected_billed_records": 86_000,
}


BACKFILL = {"backfill": "sms-20261030-20261101"}
RANGE = "2026-10-30T00:00:00Z to 2026-11-01T00:00:00Z"


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (
            BACKFILL,
            f"the backfill sms-20261030-20261101: 2 reports, {RANGE}, records: about 86,000",
        ),
        (
            {"report_id": "sms-1", "reports": 1, "skipped": 1},
            f"sms-1: 1 report, {RANGE}, already delivered or under way: 1, records: about 86,000",
        ),
        (
            {"report_id": "sms-1", "expected_billed_records": None},
            f"sms-1: 2 reports, {RANGE}, records: unknown",
        ),
    ],
)
def test_dry_run_is_described_in_one_line(answer: dict[str, object], line: str) -> None:
    assert describe_dry_run({"dry_run": {**OUTLOOK, **answer}}) == line


@pytest.mark.parametrize("kind", ["backfill", "recollect"])
def test_event_becomes_a_dry_run(kind: str) -> None:
    assert as_dry_run({kind: {"x": 1, "dry_run": False}}) == {kind: {"x": 1, "dry_run": True}}
