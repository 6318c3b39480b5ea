import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.reports import make_report
from tests.support.unsafe_text import ANY_TEXT, unsafe_in
from vonage_reports.domain import mail, notifications
from vonage_reports.domain.definitions import Refusal
from vonage_reports.domain.lifecycle import Fail, Hold

STORED = Fail(
    "RowsMismatch", "the archives have 2,999 rows, and Vonage counted 3,000", is_stored=True
)
DELIVERED: dict[str, Any] = {
    "event": "report.delivered",
    "report_id": "sms-20261119T2300Z-0a1b2c3d4e5f",
    "definition": "sms",
    "window": {
        "start": "2026-11-19T23:00:00Z", "end": "2026-11-20T23:00:00Z", "time_zone": "Europe/Paris",
    },
    "rows": 3000,
    "totals": [
        {"currency": "EUR", "total_price": "153.3724"}, {"currency": None, "total_price": "0"},
    ],
}  # fmt: skip


def failed(**changes: Any) -> dict[str, Any]:
    body = notifications.failed(make_report(), STORED, execution=None)
    return {**body, **changes}


def lines(body: dict[str, Any]) -> list[str]:
    return mail.mail_text(body, stack="prod").splitlines()


def test_failure_has_its_command_and_its_cost() -> None:
    body = failed()
    sentence, _, *steps = lines(body)

    assert sentence == f"Stack prod: {body['message']}."
    assert steps[:2] == [
        "To mend it, run the command. This costs nothing.",
        f"  vonage-reports --stack prod reconvert {body['report_id']}",
    ]
    assert steps[-1] == "  vonage-reports --stack prod status"


def test_sentence_ends_with_one_full_stop() -> None:
    sentence, *_ = lines(failed(message="sms, 2026-11-20: send reconvert."))

    assert sentence == "Stack prod: sms, 2026-11-20: send reconvert."


def test_collection_again_says_that_it_is_billed() -> None:
    body = notifications.failed(
        make_report(), Fail("ReportFailed", "Vonage failed"), execution=None
    )

    assert lines(body)[2:4] == [
        "To mend it, run the command. Vonage bills the records of the window again.",
        f"  vonage-reports --stack prod recollect {body['report_id']}",
    ]


def test_product_that_vonage_does_not_bill_costs_nothing() -> None:
    report = make_report(product="REPORTS-USAGE")
    failure = Fail("ReportFailed", "Vonage failed")

    _, _, mend, *_ = lines(notifications.failed(report, failure, execution=None))
    _, _, _, _, absent, *_ = lines(notifications.held(report, Hold(report.planned_at, "?", None)))

    assert mend == "To mend it, run the command. This costs nothing."
    assert absent == "Only if it is not there (this costs nothing):"


@pytest.mark.parametrize(("request_id", "named"), [("abc", "abc"), (None, "REQUEST_ID")])
def test_hold_names_both_answers_with_their_cost(request_id: str | None, named: str) -> None:
    held = Hold(make_report().planned_at, "no answer", request_id)
    body = notifications.held(make_report(), held)
    _, _, there, adopt, absent, create, *_ = lines(body)

    assert there.endswith("(this costs nothing):")
    resolve = f"  vonage-reports --stack prod resolve {body['report_id']}"
    assert adopt == f"{resolve} --found {named} --hold 1"
    assert absent.endswith("(Vonage bills a new report):")
    assert create == f"{resolve} --not-there --hold 1"


def test_refused_definition_names_the_check() -> None:
    body = notifications.refused(Refusal("sms", "window", "write hour, day, week or month"))

    assert "  vonage-reports --stack prod definitions check" in lines(body)
    assert mail.subject(body) == "[refused] sms window: write hour, day, week or month"


def test_subject_names_window_and_reason() -> None:
    body = failed(
        message="verify, 2026-11-20: 1 row differs. The archive is stored: send reconvert"
    )

    assert mail.subject(body) == "[failed] verify 2026-11-20: 1 row differs"


def test_delivery_names_local_date_rows_and_totals() -> None:
    assert mail.subject(DELIVERED) == "[delivered] sms 2026-11-20: 3,000 rows, 153.3724 EUR, 0"
    assert lines(DELIVERED)[0] == "Stack prod: sms 2026-11-20: 3,000 rows, 153.3724 EUR, 0"


@given(ANY_TEXT)
def test_subject_is_one_short_line_of_ascii(text: str) -> None:
    line = mail.subject(failed(message=f"sms, 2026-11-20: {text}"))

    assert line.startswith("[failed] sms 2026-11-20: ")
    assert line.isascii()
    assert not unsafe_in(line)
    assert len(line) < 100


@given(st.integers(0, 400_000))
def test_message_keeps_the_json_and_stays_below_the_limit(length: int) -> None:
    body = failed(message="\u20ac" * (length // 16))
    published = mail.message(body, stack="prod")
    texts = json.loads(published)

    assert json.loads(texts["default"]) == body
    assert set(texts) == {"default", "email"}
    has_json = texts["email"].rstrip().endswith("}")
    assert has_json or len(published) > 120_000
    assert len(published.encode()) < 256 * 1024
