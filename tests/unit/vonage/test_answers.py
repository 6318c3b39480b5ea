import pytest

from vonage_reports.vonage.answers import cleaned, report_request

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
