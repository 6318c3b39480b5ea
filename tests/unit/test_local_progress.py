from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from local.delivery import Delivery
from local.display import merged, summary
from local.progress import Progress
from vonage_reports.aws.ledger import Ledger, OpenWork
from vonage_reports.domain.notifications import EVERY_REPORT
from vonage_reports.domain.reports import Priority, Report, Revision, State
from vonage_reports.domain.windows import Window

NOW = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
PLANNED = Report(
    report_id="verify-20261118T0000Z-0123456789ab",
    definition="verify",
    product="VERIFY-V2",
    account_id="abcd1234",
    include_subaccounts=False,
    filters={},
    window=Window(datetime(2026, 11, 18, tzinfo=UTC), datetime(2026, 11, 19, tzinfo=UTC), "UTC"),
    revision=Revision.FINAL,
    priority=Priority.CALENDAR,
    planned_at=NOW,
)
REFUSED = replace(PLANNED, not_before=NOW, error="VonageRejected", reason="401: no such key")
OTHER = replace(PLANNED, report_id="sms-20261118T0000Z-0123456789ab", definition="sms")


class FakeLedger:
    def __init__(self, *reports: Report, notices: frozenset[str] = frozenset()) -> None:
        self.work = OpenWork(reports, {}, notices)

    def open_work(self) -> OpenWork:
        return self.work


class FakeDelivery:
    folder = Path()

    def manifest_key(self, report_id: str) -> str | None:
        return f"manifests/{'x' * 200}/{report_id}.json"

    def archive_keys(self, report_id: str) -> list[str]:
        return [f"archives/{report_id}/a.zip"]

    def archive_bytes(self, _report_id: str) -> int:
        return 1_200_000


class NothingDelivered(FakeDelivery):
    def manifest_key(self, _report_id: str) -> str | None:
        return None


def progress(*reports: Report, notices: frozenset[str] = frozenset()) -> Progress:
    ledger = cast("Ledger", FakeLedger(*reports, notices=notices))
    followed = Progress(ledger, cast("Delivery", NothingDelivered()))
    followed.update()
    return followed


EVERY = frozenset({EVERY_REPORT})


@pytest.mark.parametrize("error", ["VonageRejected", "VonageUnreachable", "ReportExpired"])
def test_a_refused_post_ends_the_run_with_its_own_sentence(error: str) -> None:
    followed = progress(replace(REFUSED, error=error))
    assert followed.is_settled
    assert followed.troubles() == [("verify, 2026-11-18", "401: no such key")]


@pytest.mark.parametrize(
    ("report", "shown"),
    [
        (
            replace(REFUSED, error="RateLimited", reason="429"),
            "tried again at 02:15:00 UTC: 429",
        ),
        (
            replace(REFUSED, error="ReportExpired", reason="Vonage deleted it", attempt=1),
            "tried again at 02:15:00 UTC: Vonage deleted it",
        ),
        (
            replace(REFUSED, state=State.SUBMITTED, run=3, reason="download cut"),
            "run 3 at 02:15:00 UTC: download cut",
        ),
        (PLANNED, None),
    ],
)
def test_a_report_that_is_tried_again_says_why_and_goes_on(
    report: Report, shown: str | None
) -> None:
    followed = progress(report)
    assert [line.trouble for line in followed.lines] == [shown]
    assert not followed.is_settled


def test_wrong_credentials_are_said_once_for_all_reports() -> None:
    followed = progress(REFUSED, OTHER, notices=EVERY)
    assert followed.everything_is_refused
    (sentence,) = merged([], followed.troubles(), rest="")
    assert sentence == (
        "2 reports: 401: no such key; here: VONAGE_API_KEY and VONAGE_API_SECRET; "
        "nothing was asked for"
    )


def test_nothing_ends_while_vonage_works_on_a_report_that_it_took() -> None:
    at_work = replace(OTHER, state=State.SUBMITTED)
    followed = progress(REFUSED, at_work, notices=EVERY)
    assert not followed.everything_is_refused
    assert followed.troubles() == [
        (
            "verify, 2026-11-18",
            "401: no such key; here: VONAGE_API_KEY and VONAGE_API_SECRET",
        )
    ]


def test_a_vonage_out_of_reach_blames_no_credentials() -> None:
    unreachable = replace(REFUSED, error="VonageUnreachable", reason="Vonage cannot be reached")
    followed = progress(unreachable, notices=EVERY)
    assert followed.everything_is_refused
    assert followed.troubles() == [
        ("verify, 2026-11-18", "Vonage cannot be reached; nothing was asked for")
    ]


def test_an_account_without_access_does_not_stand_for_all() -> None:
    own = frozenset({"rejected#abcd1234#VERIFY-V2"})
    followed = progress(replace(REFUSED, reason="403"), OTHER, notices=own)
    assert not followed.everything_is_refused
    assert followed.troubles() == [("verify, 2026-11-18", "403")]


def test_a_note_that_outlived_its_report_ends_nothing() -> None:
    assert not progress(PLANNED, notices=EVERY).everything_is_refused


def test_at_most_ten_sentences_stand_at_the_end() -> None:
    troubles = [(f"verify, {number}", f"reason {number}") for number in range(200)]
    sentences = merged([], troubles, rest="out/notifications.jsonl")
    assert sentences[0] == "verify, 0: reason 0"
    assert len(sentences) == 11
    assert sentences[-1] == "and 190 more: out/notifications.jsonl"


def test_the_summary_has_each_key_on_a_line_and_no_other_long_one() -> None:
    lines = [replace(line, rows=14_952) for line in progress(PLANNED).lines]
    assert summary(lines, cast("Delivery", FakeDelivery())).splitlines() == [
        PLANNED.report_id,
        "  PLANNED, 14,952 rows, 1.2 MB",
        f"  archives/{PLANNED.report_id}/a.zip",
        f"  manifests/{'x' * 200}/{PLANNED.report_id}.json",
    ]
