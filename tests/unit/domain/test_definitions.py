from dataclasses import replace

from vonage_reports.domain.definitions import ReportDefinition, warnings_of
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


def test_what_is_documented_is_no_warning() -> None:
    inbound = replace(SMS, name="sms-inbound", filters={"direction": "inbound"})

    assert warnings_of([SMS, inbound]) == []


def test_a_warning_is_a_sentence_that_names_definition_and_field() -> None:
    calls = replace(SMS, name="calls", product="VOICE-CALL", filters={"orbit": "low"})
    new = replace(SMS, name="new", product="SATELLITE-9")
    typo = replace(SMS, filters={"direction": "outbound", "status": "sent"})

    assert warnings_of([calls, new, typo]) == [
        "calls, filters.orbit: it is not documented for VOICE-CALL: Vonage may refuse it",
        "new, product: SATELLITE-9 is not documented: Vonage may refuse it",
        (
            "sms-outbound, filters.status: 'sent' is not documented for SMS, which has: accepted, "
            "buffered, deleted, delivered, expired, failed, rejected, submitted, unknown"
        ),
    ]


def test_sub_accounts_in_one_report_are_warned_of_when_more_than_ten_accounts_are_known() -> None:
    inbound = {"direction": "inbound"}
    together = replace(SMS, name="together", filters=inbound, include_subaccounts=True)

    # With the one of `together` these are eleven.
    assert warnings_of([together, of_accounts(10)]) == [
        (
            "together, include_subaccounts: the definitions know 11 accounts: with more than 10 "
            "Vonage advises one report for each, as account_ids makes"
        )
    ]
    assert warnings_of([together, of_accounts(9)]) == []
    assert warnings_of([of_accounts(11)]) == []


def test_records_that_two_definitions_ask_for_are_warned_of() -> None:
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
        "sooner, name: it asks for records that sms-outbound asks for: they are billed twice"
    ]
    assert warnings_of([SMS, *others, british]) == [
        "british, name: it asks for records that sms-outbound asks for: they are billed twice"
    ]


def test_a_sub_account_whose_records_are_in_another_report_as_well_is_warned_of() -> None:
    together = replace(SMS, name="together", include_subaccounts=True)
    alone = replace(SMS, name="alone", account_ids=("abcd5678",))
    both = replace(together, name="both", account_ids=("abcd1234", "abcd5678"))

    assert warnings_of([together, alone]) == [
        "alone, name: it asks for records that together asks for: they are billed twice"
    ]
    assert warnings_of([both]) == [
        (
            "both, account_ids: the report of a primary account has its sub-accounts' records: of "
            "one that stands here too they are billed twice"
        )
    ]


def test_an_account_that_several_definitions_name_is_known_once() -> None:
    inbound = {"direction": "inbound"}
    together = replace(SMS, name="together", account_ids=("acct0000",), include_subaccounts=True)
    shouted = replace(SMS, name="shouted", account_ids=("ACCT0001",), filters=inbound)
    others = replace(of_accounts(10), product="MESSAGES")

    assert warnings_of([together, others, shouted]) == []
