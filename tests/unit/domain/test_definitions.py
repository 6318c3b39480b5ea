from dataclasses import replace

import pytest

from vonage_reports.domain.definitions import ReportDefinition, change_of, warnings_of
from vonage_reports.domain.windows import WindowLength

SMS = ReportDefinition(
    name="sms-outbound",
    product="SMS",
    account_ids=("abcd1234",),
    include_subaccounts=False,
    filters={"direction": "outbound", "include_message": False},
    window=WindowLength.DAY,
    time_zone="UTC",
)


def of_accounts(count: int) -> ReportDefinition:
    accounts = tuple(f"acct{number:04}" for number in range(count))
    return replace(SMS, account_ids=accounts)


def test_documented_definitions_raise_no_warning() -> None:
    inbound = replace(SMS, name="sms-inbound", filters={"direction": "inbound"})

    assert warnings_of([SMS, inbound]) == []


def test_warning_names_definition_and_field() -> None:
    calls = replace(SMS, name="calls", product="VOICE-CALL", filters={"orbit": "low"})
    new = replace(SMS, name="new", product="SATELLITE-9")
    typo = replace(SMS, filters={"direction": "outbound", "status": "sent"})

    assert warnings_of([calls, new, typo]) == [
        (
            "calls, filters.orbit: not documented for VOICE-CALL, so Vonage may refuse it; "
            "check spelling"
        ),
        "new, product: SATELLITE-9 is not documented, so Vonage may refuse it; check spelling",
        (
            "sms-outbound, filters.status: 'sent' is not documented for SMS; write one of "
            "accepted, buffered, deleted, delivered, expired, failed, rejected, submitted, unknown"
        ),
    ]


def test_subaccounts_in_one_report_warn_above_ten_accounts() -> None:
    inbound = {"direction": "inbound"}
    together = replace(SMS, name="together", filters=inbound, include_subaccounts=True)

    # With the account of `together` these are eleven.
    assert warnings_of([together, of_accounts(10)]) == [
        (
            "together, include_subaccounts: the definitions name 11 accounts. For more than 10, "
            'Vonage advises one report for each account: set account_ids to "subaccounts" and '
            "include_subaccounts to false"
        )
    ]
    assert warnings_of([together, of_accounts(9)]) == []
    assert warnings_of([of_accounts(11)]) == []


def test_overlapping_definitions_raise_a_warning() -> None:
    sooner = replace(SMS, name="sooner", account_ids=("ABCD1234",), delay_days=(0,))
    of_a_country = {"direction": "outbound", "country": "GB", "include_message": True}
    british = replace(SMS, name="british", filters=of_a_country, window=WindowLength.HOUR)
    others = [
        replace(SMS, name="inbound", filters={"direction": "inbound"}),
        replace(SMS, name="elsewhere", account_ids=("abcd5678",)),
        replace(SMS, name="calls", product="VOICE-CALL", filters={}),
    ]

    assert warnings_of([SMS, *others]) == []
    assert warnings_of([SMS, sooner, *others]) == [
        "sooner, name: shares records with sms-outbound, billed twice; narrow filters or accounts"
    ]
    assert warnings_of([SMS, *others, british]) == [
        "british, name: shares records with sms-outbound, billed twice; narrow filters or accounts"
    ]


def test_number_and_its_text_select_the_same_records() -> None:
    plain = replace(SMS, filters={**SMS.filters, "network": 23410})
    quoted = replace(SMS, name="quoted", filters={**plain.filters, "network": "23410"})

    shared = "shares records with sms-outbound, billed twice; narrow filters or accounts"

    assert warnings_of([plain, replace(quoted, delay_days=(0,))])[1:] == [f"quoted, name: {shared}"]


def test_subaccount_collected_twice_raises_a_warning() -> None:
    together = replace(SMS, name="together", include_subaccounts=True)
    alone = replace(SMS, name="alone", account_ids=("abcd5678",))
    both = replace(together, name="both", account_ids=("abcd1234", "abcd5678"))

    assert warnings_of([together, alone]) == [
        "alone, name: shares records with together, billed twice; narrow filters or accounts"
    ]
    assert warnings_of([both]) == [
        (
            "both, account_ids: a primary account's report includes its sub-accounts, so a "
            "sub-account listed here is billed twice; remove it, or set include_subaccounts to "
            "false"
        )
    ]


def test_account_in_several_definitions_counts_once() -> None:
    inbound = {"direction": "inbound"}
    together = replace(SMS, name="together", account_ids=("acct0000",), include_subaccounts=True)
    shouted = replace(SMS, name="shouted", account_ids=("ACCT0001",), filters=inbound)
    others = replace(of_accounts(10), product="MESSAGES")

    assert warnings_of([together, others, shouted]) == []


@pytest.mark.parametrize("number", [5, 2**53, -(10**30)])
def test_number_in_quotes_is_no_changed_filter(number: int) -> None:
    plain, quoted = (replace(SMS, filters={"network": each}) for each in (number, str(number)))

    assert plain.collects != quoted.collects
    assert change_of(quoted, plain.collects) is None
    assert change_of(plain, quoted.collects) is None


@pytest.mark.parametrize(
    ("before", "after"), [(5, "6"), (5, "05"), (True, "True"), (True, 1), (False, "0"), (0, False)]
)
def test_other_value_of_a_filter_is_a_changed_filter(before: object, after: object) -> None:
    collected = replace(SMS, filters={"network": before}).collects

    refusal = change_of(replace(SMS, filters={"network": after}), collected)

    assert refusal is not None
    assert refusal.field == "filters"
