"""The page has the dataset's numbers, in charts and in tables, and needs no network."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given

from tests.support.delivered import Delivered
from tests.support.last_run import save_run
from tests.support.unsafe_text import ANY_TEXT, unsafe_in
from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.main import main
from vonage_reports_cli.page import Page, make_page
from vonage_reports_cli.page.basis import Basis
from vonage_reports_cli.page.chart import Chart, Kind, Series, Value
from vonage_reports_cli.page.document import Origin
from vonage_reports_cli.page.document import page_of as document
from vonage_reports_cli.page.numbers import Numbers, Total
from vonage_reports_cli.page.windows import Undelivered, Windows, words_of
from vonage_reports_cli.period import month_of
from vonage_reports_cli.sql.dataset import Folder

PHONE = "447700900123"
ORIGIN = Origin(
    "stack prod, account 123456789012, eu-west-1, as of 2026-11-26 11:00:00 UTC",
    is_simulated=False,
    made_at=datetime(2026, 11, 26, 11, 5, tzinfo=UTC),
)
SIMULATED = Origin("SIMULATED: the last make run", is_simulated=True, made_at=ORIGIN.made_at)


class Section:
    """A heading with its tables, its legend, and the text of its chart if one is drawn."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []
        self.bars: list[str] = []
        self.is_drawn = False
        self.description = ""

    @property
    def table(self) -> dict[str, list[str]]:
        """The cells by the first cell of their row."""
        return {first: rest for first, *rest in self.rows}


class Reader(HTMLParser):
    """Reads the page as a browser would."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: dict[str, Section] = {}
        self.references: list[str] = []
        self.policy = ""
        self.tags: list[str] = []
        self.text = ""
        self._path: list[str] = []
        self._section = Section()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.references += [each or "" for name, each in attrs if name in ("src", "href", "action")]
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""
        if tag != "meta":
            self._path.append(tag)
        if tag == "section":
            self._section = Section()
        elif tag == "tr":
            self._section.rows.append([])
        elif tag in ("td", "th"):
            self._section.rows[-1].append("")
        elif tag == "svg" and given.get("role") == "img":
            self._section.is_drawn = True

    def handle_startendtag(self, tag: str, _attrs: object) -> None:
        self.tags.append(tag)

    def handle_endtag(self, _tag: str) -> None:
        self._path.pop()

    def handle_data(self, data: str) -> None:
        if "style" in self._path:
            return
        self.text += data
        match self._path:
            case [*_, "h2"]:
                self.sections[data] = self._section
            case [*_, "td" | "th"] | [*_, "th", "small"]:
                self._section.rows[-1][-1] += data
            case [*_, "desc"]:
                self._section.description = data
            case [*_, "g" | "rect", "title"]:
                self._section.bars.append(data)


@pytest.fixture
def out(tmp_path: Path) -> Delivered:
    return Delivered(tmp_path / "out")


def made(out: Delivered, origin: Origin = ORIGIN, month: str | None = None) -> Page:
    return make_page(Folder(out.root), origin, month=None if month is None else month_of(month))


def page_of(out: Delivered, origin: Origin = ORIGIN, month: str | None = None) -> Reader:
    return Reader(made(out, origin, month).html)


def sms(id_: str, price: str, **cells: str) -> dict[str, str]:
    return {
        "id": id_, "date_received": "2026-11-19T10:00:00Z", "from": "ACME", "to": PHONE,
        "country": "GB", "status": "delivered", "total_price": price, "latency": "499", **cells,
    }  # fmt: skip


def test_tables_and_charts_have_the_exact_sums(out: Delivered) -> None:
    first, last = "2026-11-19T10:00:00Z", "2026-11-21T10:00:00Z"
    records = [
        sms("r1", "0.1", date_received=first),
        sms("r2", "0.20000001", date_received=first, country="NA", latency="500"),
        sms("r3", "7", date_received=last, status="failed", latency="60000"),
    ]
    out.deliver("SMS", records, definition="x")
    out.deliver("SMS", records, definition="again")
    call = {"id": "c", "date_start": last, "total_price": "2.5", "currency": "USD", "country": ""}
    out.deliver("VOICE-CALL", [call], definition="calls")

    sections = page_of(out).sections

    by_day = sections["Cost by day, account's currency"]
    assert by_day.rows == [
        ["day", "SMS"], ["2026-11-19", "0.30000001"], ["2026-11-21", "7.00000000"],
    ]  # fmt: skip
    assert by_day.is_drawn
    assert by_day.description.startswith(
        "One bar for each day, cut by product. The highest is 2026-11-21 with 7.00 account's"
    )
    assert sections["Cost by day, USD"].table["2026-11-21"] == ["2.50"]
    assert sections["Cost by country, account's currency"].table == {
        "country": ["SMS"], "GB United Kingdom": ["7.10000000"], "NA Namibia": ["0.20000001"],
    }  # fmt: skip
    assert "Cost by country, USD" not in sections
    assert sections["Delivery status of SMS, share of records"].table == {
        "status": ["SMS"], "delivered": ["66.67 % (2)"], "failed": ["33.33 % (1)"],
    }  # fmt: skip
    assert sections["Latency of SMS, share of records"].table == {
        "latency": ["SMS"],
        "below 0.5 s": ["33.33 % (1)"],
        "0.5 to 1 s": ["33.33 % (1)"],
        "60 s or more": ["33.33 % (1)"],
    }
    assert sections["Totals"].rows[1:] == [
        ["SMS account's currency", "3", "7.30000001"], ["VOICE-CALL USD", "1", "2.50000000"],
    ]  # fmt: skip


def test_bars_are_as_long_as_their_numbers(out: Delivered) -> None:
    records = [sms("r1", "1"), sms("r2", "4", country="US"), sms("r3", "3", country="FR")]
    call = {"id": "c", "date_start": "2026-11-19T10:00:00Z", "total_price": "1", "currency": "EUR",
            "country": "GB"}  # fmt: skip
    out.deliver("SMS", records, definition="x", currency="EUR")
    out.deliver("VOICE-CALL", [call], definition="calls")

    html = made(out).html

    chart = html[html.index("Cost by country, EUR") :].split("</section>")[0]
    rows = re.findall(r"<g><title>(.*?)</title>(.*?)</g>", chart)
    places = {
        name: re.findall(r'x="([\d.]+)%" y="\d+" width="([\d.]+)%"', bars) for name, bars in rows
    }
    assert places == {
        "US United States: SMS 4.00": [("0.000", "100.000")],
        "FR France: SMS 3.00": [("0.000", "75.000")],
        "GB United Kingdom: SMS 1.00, VOICE-CALL 1.00": [("0.000", "25.000"), ("25.000", "25.000")],
    }


def test_columns_stand_on_each_other(out: Delivered) -> None:
    days = [sms("r1", "1"), sms("r2", "2", date_received="2026-11-20T10:00:00Z")]
    call = {"id": "c", "date_start": "2026-11-20T10:00:00Z", "total_price": "2", "currency": "EUR"}
    out.deliver("SMS", days, definition="x", currency="EUR")
    out.deliver("VOICE-CALL", [call], definition="calls")

    html = made(out).html

    # 4 EUR have the whole height of 220.
    paths = re.findall(r'<path class="c\d" d="([^"]*)"', html)
    assert [re.findall(r" ([\d.]+)v(-[\d.]+)", path) for path in paths] == [
        [("220.00", "-55.00"), ("220.00", "-110.00")],
        [("110.00", "-110.00")],
    ]
    assert ">4</text>" in html


def test_single_bar_is_a_table_only(out: Delivered) -> None:
    out.deliver("SMS", [sms("r1", "0.5")], definition="x", currency="EUR")

    sections = page_of(out).sections

    assert list(sections) == [
        "Windows", "Totals", "Cost by day, EUR", "Cost by country, EUR",
        "Delivery status of SMS, share of records", "Latency of SMS, share of records",
    ]  # fmt: skip
    assert not any(section.is_drawn for section in sections.values())
    assert sections["Cost by day, EUR"].table["2026-11-19"] == ["0.50"]


def test_shares_of_several_products_are_one_chart(out: Delivered) -> None:
    out.deliver("SMS", [sms("r1", "0.5"), sms("r2", "0.5", status="failed")], definition="x")
    message = {"id": "m", "date_received": "2026-11-19T10:00:00Z", "status": "read"}
    out.deliver("MESSAGES", [message], definition="y")

    shares = page_of(out).sections["Delivery status, share of records"]

    assert shares.rows == [
        ["product", "delivered", "read", "failed"],
        ["MESSAGES", "", "100.00 % (1)", ""],
        ["SMS", "50.00 % (1)", "", "50.00 % (1)"],
    ]
    assert shares.bars == [
        "MESSAGES: read 100.00 % (1)", "SMS: delivered 50.00 % (1), failed 50.00 % (1)",
    ]  # fmt: skip


def test_page_names_its_source_and_its_time(out: Delivered) -> None:
    out.deliver("SMS", [sms("r1", "0.5")], definition="x")

    page = page_of(out)

    assert f"Source: {ORIGIN.source}" in page.text
    assert "Made 26 November 2026, 11:05 UTC" in page.text
    assert "SIMULATED" not in page.text


def test_simulated_records_are_named_so_in_title_and_text(out: Delivered) -> None:
    out.deliver("SMS", [sms("r1", "0.5")], definition="x")

    text = made(out, SIMULATED).html

    assert "<title>SIMULATED: Vonage usage</title>" in text
    assert "<strong>SIMULATED.</strong> The simulator made these records." in text


def test_windows_are_delivered_preliminary_or_missing(out: Delivered) -> None:
    for day, revision in (("17", "final"), ("18", "final"), ("21", "preliminary")):
        out.deliver("SMS", [sms(day, "1")], definition="x", day=f"2026-11-{day}", revision=revision)
    out.deliver("SMS", [sms("17", "1")], definition="x", day="2026-11-17", revision="preliminary")
    out.deliver("SMS", [sms("y", "1")], definition="y", day="2026-11-18")

    page = page_of(out)

    assert "Windows: 4 delivered, 1 of them preliminary; 2 missing." in page.text
    assert page.sections["Windows"].rows == [
        ["definition, account", "delivered", "preliminary", "missing"],
        ["x abcd1234, 2026-11-17 to 2026-11-21", "3", "1", "2"],
        ["y abcd1234, 2026-11-18", "1", "0", "0"],
    ]
    assert "missing: x, abcd1234, 2026-11-19 to 2026-11-20 (2 windows)" in page.text


def test_month_has_its_own_records_and_windows_only(out: Delivered) -> None:
    october = sms("o", "5", date_received="2026-10-31T23:59:59Z")
    out.deliver("SMS", [october], definition="x", day="2026-10-31")
    out.deliver(
        "SMS", [sms("n", "0.5", date_received="2026-11-02T00:00:00Z")],
        definition="x", day="2026-11-02",
    )  # fmt: skip

    page = page_of(out, month="2026-11")

    assert "Vonage usage, November 2026" in page.text
    # The gap before the first window of the month is found from the window before it.
    assert "Windows: 1 delivered, 0 of them preliminary; 1 missing." in page.text
    assert page.sections["Totals"].table["SMS account's currency"] == ["1", "0.50"]
    assert "No records of December 2026 were delivered." in page_of(out, month="2026-12").text


def test_long_period_has_one_bar_per_month(out: Delivered) -> None:
    days = ["2026-09-01", "2026-09-02", "2026-11-03"]
    out.deliver(
        "SMS", [sms(day, "1", date_received=f"{day}T10:00:00Z") for day in days], definition="x"
    )

    by_month = page_of(out).sections["Cost by month, account's currency"]

    assert by_month.table == {"month": ["SMS"], "2026-09": ["2.00"], "2026-11": ["1.00"]}


def test_garbled_year_makes_no_endless_axis(out: Delivered) -> None:
    days = ["0001-01-01", "2026-11-03"]
    out.deliver(
        "SMS", [sms(day, "1", date_received=f"{day}T10:00:00Z") for day in days], definition="x"
    )

    page = made(out)

    by_year = Reader(page.html).sections["Cost by year, account's currency"]
    assert by_year.table == {"year": ["SMS"], "0001": ["1.00"], "2026": ["1.00"]}
    assert len(page.html) < 20_000


def test_preliminary_records_are_counted_and_free_countries_left_out(out: Delivered) -> None:
    out.deliver(
        "SMS", [sms("r1", "0.5"), sms("r2", "0", country="NA")],
        definition="x", currency="EUR", revision="preliminary",
    )  # fmt: skip

    page = page_of(out)

    assert page.sections["Totals"].table["SMS EUR"] == ["2", "0.50"]
    assert list(page.sections["Cost by country, EUR"].table) == ["country", "GB United Kingdom"]
    assert "Preliminary: 2 records, whose prices may still change." in page.text


def test_cheapest_countries_share_one_bar(out: Delivered) -> None:
    codes = [f"{a}{b}" for a in "ABCDE" for b in "KLMNO"]
    out.deliver(
        "SMS",
        [sms(code, str(place + 1), country=code) for place, code in enumerate(codes)],
        definition="x",
    )

    table = page_of(out).sections["Cost by country, account's currency"].table

    assert len(table) == 17
    # An unknown code stays a code.
    assert table["EO"] == ["25.00"]
    assert table["10 others"] == ["55.00"]


PRODUCTS = ["VOICE-CALL", "IN-APP-VOICE", "WEBSOCKET-CALL", "ASR", "AMD", "VERIFY-V2",
            "VIDEO-API", "VOICE-TTS", "CONVERSATION-EVENT"]  # fmt: skip
TIMES = ("date_start", "start_time", "date_received", "creation_date")


def test_cheapest_products_share_one_colour_and_no_cost_is_lost(out: Delivered) -> None:
    for place, product in enumerate(PRODUCTS):
        record = {"id": "r", "total_price": f"{place + 1}.25", "currency": "EUR",
                  **dict.fromkeys(TIMES, "2026-11-19T10:00:00Z")}  # fmt: skip
        out.deliver(product, [record], definition=product.lower())

    page = page_of(out)

    names, costs = page.sections["Cost by day, EUR"].rows
    assert (names[-2:], costs[-2:]) == (["other products", "total"], ["3.50", "47.25"])
    assert len(names) == 10
    assert sum(map(Decimal, costs[1:-1])) == Decimal("47.25")
    assert page.sections["Totals"].table["all products EUR"] == ["9", "47.25"]


def test_busiest_page_stays_below_300_kilobytes(out: Delivered) -> None:
    days = [f"2026-{month}-{day:02}" for month in (10, 11) for day in range(1, 31)]
    for product in PRODUCTS:
        records = [
            {"id": f"{currency}{day}", "total_price": "1234.12345678", "currency": currency,
             "country": country, "status": f"{product} {place % 9}",
             **dict.fromkeys(TIMES, f"{day}T10:00:00Z")}
            for currency in ("EUR", "USD", "GBP", "SEK", "PLN")
            for place, day in enumerate(days)
            for country in (f"{chr(65 + place % 26)}X",)
        ]  # fmt: skip
        out.deliver(product, records, definition=product.lower())
    html = made(out).html
    assert html.count("Cost by day") == 8
    assert "Without charts, because other currencies have more records: USD." in html
    assert len(html.encode()) < 300_000


def test_page_has_no_script_and_fetches_nothing(out: Delivered) -> None:
    out.deliver("SMS", [sms("r1", "0.1"), sms("r2", "1", country="US")], definition="x")

    page = page_of(out)

    assert page.references == []
    assert page.policy == "default-src 'none'; style-src 'unsafe-inline'"
    assert not {"script", "img", "link", "iframe", "object"} & set(page.tags)
    assert PHONE not in page.text


def test_text_of_a_record_is_never_markup(out: Delivered) -> None:
    status = "</svg><script>alert(1)</script>"
    records = [sms("r1", "0.1", status=status), sms("r2", "1", country="<i>")]
    out.deliver("SMS", [{**each, "currency": "<b>"} for each in records], definition="x")

    page = page_of(out)

    assert status in page.sections["Delivery status of SMS, share of records"].table
    assert page.sections["Cost by country, <b>"].is_drawn
    assert not {"script", "b", "i"} & set(page.tags)


def with_everywhere(text: str) -> str:
    """Return a page with this text in each place for text from elsewhere."""
    values = {text: Value(Decimal(1), text), f"{text}2": Value(Decimal(2), "2")}
    words = dict.fromkeys(values, text)
    charts = [
        Chart(kind, text, text, text, text, [*values], [Series(text, "c0", values)], words, words)
        for kind in Kind
    ]
    numbers = Numbers(1, 0, None, None, [Total(text, text, 1, Decimal(1))], charts)
    undelivered = Undelivered(text, text, "failed", text, 2, text)
    windows = [Windows(text, text, None, None, 0, 0, [undelivered])]
    basis = Basis(windows, words_of(windows), [text])
    return document(numbers, basis, replace(ORIGIN, source=text), None)


PLAIN = Reader(with_everywhere("plain"))


@given(ANY_TEXT.filter(bool))
def test_no_text_from_elsewhere_is_unsafe_or_markup(text: str) -> None:
    html = with_everywhere(text)

    assert not unsafe_in(html)
    assert Reader(html).tags == PLAIN.tags


def test_records_without_cost_or_status_give_no_charts(out: Delivered) -> None:
    out.deliver("SMS-TRAFFIC-CONTROL", [{"id": "r", "queued_time": ""}], definition="x")

    page = page_of(out)

    assert list(page.sections) == ["Windows", "Totals"]
    assert page.sections["Totals"].table["SMS-TRAFFIC-CONTROL"] == ["1", ""]


def test_page_of_an_empty_delivery_says_so(out: Delivered) -> None:
    out.deliver("SMS", [], definition="x")

    page = page_of(out)

    assert "No records were delivered." in page.text
    assert "Windows: 1 delivered, 0 of them preliminary; none known to be missing." in page.text


def test_credit_is_in_the_table_and_has_no_bar(out: Delivered) -> None:
    records = [sms("r1", "5"), sms("r2", "-2", country="US"), sms("r3", "1", country="FR")]
    out.deliver("SMS", records, definition="x")

    by_country = page_of(out).sections["Cost by country, account's currency"]

    assert by_country.table["US United States"] == ["-2.00"]
    assert by_country.is_drawn


def test_page_that_cannot_be_written_leaves_the_earlier_one(out: Delivered, tmp_path: Path) -> None:
    out.deliver("SMS", [sms("r1", "0.1")], definition="x")
    page = made(out)
    (tmp_path / "folder").mkdir()
    for target, reason in (("no/usage.html", "No such file"), ("folder", "Is a directory")):
        with pytest.raises(BadInput, match=rf"^cannot write \S+{target}: {reason}"):
            page.write(tmp_path / target)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "out"]


def test_page_replaces_a_page_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(save_run(tmp_path))
    monkeypatch.delenv("VONAGE_REPORTS_STACK", raising=False)
    Delivered(tmp_path / "out").deliver("SMS", [], definition="sms")
    invoice, empty = tmp_path / "invoice.csv", tmp_path / "empty.html"
    invoice.write_text("product,amount\nSMS,1\n")
    empty.touch()

    assert main(["--local", "page", "-o", "invoice.csv"]) == 2
    assert capsys.readouterr().err == (
        "vonage-reports: -o invoice.csv is a file and no page; name another file, or remove it\n"
    )
    assert invoice.read_text() == "product,amount\nSMS,1\n"
    assert [main(["--local", "page", "-o", "empty.html"]) for _ in range(2)] == [0, 0]
