from datetime import UTC, datetime
from typing import Any

import pytest

from vonage_reports.domain.errors import VonageUnavailable
from vonage_reports.vonage.answers import cleaned, report_request, subaccount_list

PERSONAL = [
    "447700900123",
    "+447700900123",
    "+44 7700 900123",
    "+44 (0)7700 900 123",
    "0044-7700-900-123",
    "44.7700.900.123",
    "07700/900123",
    "+44\u00a07700\u2011900123",
    "%2B447700900123",
    "%2B44%207700%20900123",
    "%2b44%2D7700%2d900123",
    "%34%34%37%37%30%30%39%30%30%31%32%33",
    "1234567890123456",
    "12345678901234567890123",
    "ann@example.com",
    "ann.lee+x@mail.example.co.uk",
    "ann%40example.com",
]
AROUND = ["{}", "Invalid value '{}'.", "to={}&x=1", "to_{}", "tel:{}", "[{}]", "{}, and 3 more"]


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("personal", PERSONAL)
def test_personal_data_is_replaced(personal: str, around: str) -> None:
    text = cleaned(around.format(personal))
    assert "(number)" in text or "(address)" in text
    assert not set("0123456789") & set(text.replace("x=1", "").replace("and 3", ""))
    assert "ann" not in text
    assert "example" not in text


@pytest.mark.parametrize(
    "text",
    [
        "Report ri3p58f-42d57cfd-1234-5678-9123-675801950540 does not exist",
        "date_start 2026-11-21T00:00:00+0000 - 2026-11-22 00:00:00 is too long",
        "from 2026-11-21 to 2026-11-22, at most 20000000 records",
        "at most 7,000,000 of 12 345 678 records",
    ],
)
def test_ids_times_and_counts_stay(text: str) -> None:
    assert cleaned(text) == text


def test_control_characters_are_shown_as_escapes() -> None:
    assert cleaned("a\x1b[31m\n\ud800") == r"a\u001b[31m\n\ud800"


@pytest.mark.parametrize("text", ["x" * 65_536, "1 " * 32_768, "%3" * 32_768, "a@" * 32_768])
def test_length_is_limited(text: str) -> None:
    assert len(cleaned(text)) <= 700


@pytest.mark.parametrize(
    ("value", "count", "text"),
    [
        (3, 3, None),
        ("3", 3, None),
        (" 3 ", 3, None),
        (3.0, 3, None),
        ("3.0", 3, None),
        ("0", 0, None),
        (None, None, None),
        (3.5, None, "3.5"),
        (-1, None, "-1"),
        (True, None, "true"),
        ("about 3", None, "about 3"),
        ("", None, ""),
        ("٣", None, "٣"),
        (10**16, None, "(number)"),
        (float("inf"), None, "Infinity"),
        ([3], None, "[3]"),
        ("x" * 1000, None, "x" * 97 + "..."),
    ],
)
def test_count_is_read_or_its_text_is_kept(
    value: object, count: int | None, text: str | None
) -> None:
    report = report_request({"items_count": value})

    assert (report.items_count, report.items_count_text) == (count, text)


LINK = {"href": "https://api.nexmo.com/v3/media/f1"}


@pytest.mark.parametrize(
    ("links", "file_id"),
    [
        (LINK, "f1"),
        ([LINK], "f1"),
        ([LINK, {"href": "/v3/media/f2"}], "f1"),
        ([], None),
        ([1], None),
    ],
)
def test_first_link_of_a_list_is_the_link(links: object, file_id: str | None) -> None:
    assert report_request({"_links": {"download_report": links}}).file_id == file_id


def listed(**entry: Any) -> dict[str, Any]:
    """Return an entry of the list of sub-accounts, as the OpenAPI text 1.0.8 has it."""
    return {
        "api_key": "bbe6222f",
        "name": "Subaccount department A",
        "primary_account_api_key": "acc6111f",
        "use_primary_account_balance": True,
        "created_at": "2018-03-02T16:34:49Z",
        "suspended": False,
        "balance": 100.25,
        "credit_limit": -100.25,
        **entry,
    }


def a_list(*entries: object, **more: Any) -> dict[str, Any]:
    primary = {"api_key": "acc6111f", "name": "Primary", "suspended": False}
    return {"_embedded": {"primary_account": primary, "subaccounts": list(entries)}, **more}


def test_suspended_accounts_are_left_out_of_the_list() -> None:
    found = subaccount_list(
        a_list(
            listed(),
            listed(api_key="acc7", suspended=True),
            listed(api_key="acc8", created_at="soon", name=None),
        ),
        "ACC6111f",
    )
    assert found.primary == "ACC6111f"
    assert found.created == {"bbe6222f": datetime(2018, 3, 2, 16, 34, 49, tzinfo=UTC), "acc8": None}


def test_list_without_sub_accounts_is_whole() -> None:
    assert subaccount_list(a_list(), "acc6111f").created == {}


ODD_LISTS: dict[str, Any] = {
    "nothing": {},
    "null": {"_embedded": None},
    "a text": {"_embedded": "x"},
    "no list": {"_embedded": {"primary_account": {"api_key": "acc6111f"}}},
    "an object": {"_embedded": {"primary_account": {"api_key": "acc6111f"}, "subaccounts": {}}},
    "no primary": {"_embedded": {"subaccounts": [listed()]}},
    "null primary": {"_embedded": {"primary_account": None, "subaccounts": [listed()]}},
    "a number as primary": {
        "_embedded": {"primary_account": {"api_key": 7}, "subaccounts": [listed()]}
    },
    "another primary": {
        "_embedded": {"primary_account": listed(api_key="other"), "subaccounts": [listed()]}
    },
    "null entry": a_list(listed(), None),
    "text entry": a_list("bbe6222f"),
    "entry without a key": a_list({"suspended": False}),
    "number as key": a_list(listed(api_key=12345678)),
    "empty key": a_list(listed(api_key="")),
    "long key": a_list(listed(api_key="x" * 41)),
    "path as key": a_list(listed(api_key="../../v2")),
    "line as key": a_list(listed(api_key="bbe6222f\n")),
    "foreign digits as key": a_list(listed(api_key="\u0663\u0664")),
    "no suspended": a_list({"api_key": "bbe6222f"}),
    "null suspended": a_list(listed(suspended=None)),
    "text suspended": a_list(listed(suspended="false")),
    "number suspended": a_list(listed(suspended=0)),
    "twice": a_list(listed(), listed(api_key="BBE6222F")),
    "suspended twice": a_list(listed(suspended=True), listed()),
    "the primary too": a_list(listed(api_key="acc6111f")),
    "next page": a_list(
        listed(), _links={"next": {"href": "/accounts/acc6111f/subaccounts?page=2"}}
    ),
    "too many": a_list(*(listed(api_key=f"a{each}") for each in range(10_000))),
}


@pytest.mark.parametrize("answer", ODD_LISTS.values(), ids=ODD_LISTS)
def test_list_that_is_not_whole_counts_as_no_answer(answer: dict[str, Any]) -> None:
    with pytest.raises(VonageUnavailable, match="list of sub-accounts cannot be used: it") as error:
        subaccount_list(answer, "acc6111f")
    assert error.value.is_unusable_answer
    assert str(error.value).isprintable()


def test_list_of_two_thousand_sub_accounts_is_whole() -> None:
    entries = [listed(api_key=f"a{each}") for each in range(2_000)]
    assert len(subaccount_list(a_list(*entries), "acc6111f").created) == 2_000
