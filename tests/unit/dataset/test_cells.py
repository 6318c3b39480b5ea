"""Every cell of any CSV is in the dataset, in its type or as text."""

import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cells import (
    MINUTE,
    OUR_NAMES,
    converted,
    expected,
    rows_of,
)
from tests.support.csvs import written
from vonage_dataset.cells import Collection
from vonage_dataset.parquet import Total
from vonage_dataset.tables import TABLES, Type
from vonage_reports.domain.errors import RowsUnreadable

SMS = [column.name for column in TABLES["SMS"].columns]
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    [
        "NA",
        "null",
        "NaN",
        "0044",
        "+447700900123",
        'a "b", c',
        "a\r\nb",
        "\n",
        " ",
        "🎉",
        "\0",
        "''",
    ]
)
GOOD = {
    Type.MONEY: st.decimals(-99, 10**9, places=8, allow_nan=False).map("{:f}".format)
    | st.sampled_from(["0", "0.0058", "0.06800000", "9999999999.99999999", "1.2300000000"]),
    Type.INTEGER: st.integers(-(2**63) + 1, 2**63 - 1).map(str),
    Type.BOOLEAN: st.sampled_from(["true", "false", "True", "FALSE"]),
    Type.TIMESTAMP: st.builds(
        lambda at, fraction, zone: f"{at:%Y-%m-%dT%H:%M:%S}{fraction}{zone}",
        st.integers(0, 2**33).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
        st.sampled_from(["", ".1", ".123", ".123456"]),
        st.sampled_from(["+0000", "+00:00", "Z", "+02:00", "-0530"]),
    ),
    Type.TEXT: TEXTS,
}
ODD = TEXTS | st.sampled_from(
    ["0.123456789", "10000000000", "1,5", "12 ", "1.0", "9223372036854775808", "yes", "-", "n/a",
     "0x10", "007", "-007", "+1", "-0", "00", "1", "0", " 1", "1 ", "1e3", "1E-3", "0E-8", "1e-9",
     ".5", "5.", "-.5e1", "1e9", "1e10", "007.50", "1_0", "--1", "True ", "t", "2026-11-20T23Z",
     "2026-11-20 23:59+02", "2026-11-20T24:00:00Z", "2026-11-20T23:59:60Z",
     "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00",
     "2024-3-22 11:24:05+00:00", "2024-3-2T1:24:05Z", "2024-003-22T11:24:05Z",
     MINUTE, f"{MINUTE}.1234567Z", "2026-02-30T00:00:00Z", "1763683199", "2026-11-20"]
)  # fmt: skip


@st.composite
def reports(draw: st.DrawFn) -> tuple[str, list[list[str]]]:
    """Draw a product and the rows of its CSV, the header first."""
    product = draw(st.sampled_from(sorted(TABLES)))
    types = {column.name: column.type for column in TABLES[product].columns}
    unknown = st.sampled_from(["new_column", "State", "_rescued", "x", "ü"])
    header = draw(
        st.lists(st.sampled_from(sorted(types)) | unknown, min_size=1, max_size=8, unique=True)
    )
    cells = [
        GOOD[types[n]] | ODD | st.just("") if n in types else ODD | st.just("") for n in header
    ]
    return product, [header, *draw(st.lists(st.tuples(*cells).map(list), max_size=20))]


@given(
    report=reports(),
    line_end=st.sampled_from(["\n", "\r\n"]),
    quote_all=st.booleans(),
    final=st.booleans(),
)
@settings(deadline=None, max_examples=200)
def test_every_cell_comes_back_unchanged(
    report: tuple[str, list[list[str]]], line_end: str, *, quote_all: bool, final: bool
) -> None:
    product, rows = report
    content = written(rows, line_end=line_end, quote_all=quote_all)

    read = rows_of(content if final else content.removesuffix(line_end.encode()), product=product)

    assert read == [expected(product, rows[0], cells) for cells in rows[1:]]


@given(report=reports(), piece=st.sampled_from([1, 7, 65_536]), block=st.integers(20, 400))
@settings(deadline=None, max_examples=60)
def test_dataset_does_not_depend_on_chunks(
    report: tuple[str, list[list[str]]], piece: int, block: int
) -> None:
    product, rows = report
    content = written(rows)

    whole = converted(content, product=product)
    cut = converted(content, product=product, piece=piece, block_bytes=block)

    assert cut[1].equals(whole[1])
    assert cut[0] == whole[0]


@pytest.mark.parametrize("block", [12, 2**20])
def test_lone_cr_is_text_in_quotes_and_may_end_the_file(block: int) -> None:
    assert rows_of(b'id,status\n1,"a\rb"\n2,c\n3,d\r', block_bytes=block) == [
        {"id": "1", "status": "a\rb"},
        {"id": "2", "status": "c"},
        {"id": "3", "status": "d"},
    ]


@pytest.mark.parametrize("block", range(8, 60))
def test_line_break_in_a_message_survives_a_block_end(block: int) -> None:
    bodies = ["one\r\ntwo", "\r\n", "three\n\r\r\n"]
    content = written([["message_body", "id"], *([body, "1"] for body in bodies)], line_end="\r\n")

    assert [row["message_body"] for row in rows_of(content, block_bytes=block)] == bodies


@pytest.mark.parametrize(
    "text",
    ["1e-999999999", "1e999999999", "-1E-400", f"0.{'0' * 100}1", "9" * 100, "1e10", "NaN", "0x1F"],
)
@pytest.mark.parametrize("beside", [[], ["0.5"], ["misfit"]])
def test_invalid_price_is_rescued_and_crashes_nothing(text: str, beside: list[str]) -> None:
    found = rows_of(written([["total_price"], [text], *([each] for each in beside)]))

    assert found[0] == {"_rescued": {"total_price": text}}


@pytest.mark.parametrize(
    ("text", "price"), [(f"0.5{'0' * 100}", "0.5"), (f"{'0' * 100}7", "7"), ("0e-999999999", "0")]
)
def test_price_with_many_zeros_is_exact(text: str, price: str) -> None:
    assert rows_of(written([["total_price"], [text]])) == [{"total_price": Decimal(price)}]


NEAR = st.text(st.sampled_from("0123456789+-.eExXaAfTZ: trulsy"), min_size=1, max_size=26)
MADE_OF_PARTS = st.lists(
    st.sampled_from(["2026-11-20", "T", " ", "12", ":", "59", ".", "5", "Z", "+00", "0", "e", "-"]),
    min_size=1,
    max_size=12,
).map("".join)


@given(cells=st.lists(NEAR | MADE_OF_PARTS, min_size=3, max_size=3))
@settings(deadline=None, max_examples=100)
def test_cell_does_not_depend_on_its_neighbours(cells: list[str]) -> None:
    # A conversion costs far more than a cell, so each one has a column of each type.
    names = ["total_price", "latency", "date_received"]
    misfits = ["misfit"] * 3
    (alone,) = rows_of(written([names, cells]))
    beside = rows_of(written([names, misfits, cells, misfits]))

    assert beside[1] == alone
    assert beside[0] == {"_rescued": dict.fromkeys(names, "misfit")}


# Columns and types


def test_columns_are_found_by_name() -> None:
    content = b"total_price,id,status\n0.05,a,delivered\n"

    assert rows_of(content) == [{"id": "a", "status": "delivered", "total_price": Decimal("0.05")}]


def test_text_that_looks_like_another_type_stays_text() -> None:
    content = b"from,to,network,country,id\n0044,+447700900123,00101,NA,1e5\n"

    assert rows_of(content) == [
        {"from": "0044", "to": "+447700900123", "network": "00101", "country": "NA", "id": "1e5"}
    ]


@pytest.mark.parametrize("zone", ["+0000", "+00:00", "Z"])
@pytest.mark.parametrize("fraction", ["", ".5", ".500000"])
def test_time_is_an_instant_in_utc(zone: str, fraction: str) -> None:
    (row,) = rows_of(f"date_received\n{MINUTE}{fraction}{zone}\n".encode())

    at = datetime(2026, 11, 20, 23, 59, 59, 500_000 if fraction else 0, tzinfo=UTC)
    assert row == {"date_received": at}


@pytest.mark.parametrize("beside", [[], [f"{MINUTE}Z"], ["misfit"]])
def test_time_may_have_a_month_or_day_of_one_digit(beside: list[str]) -> None:
    texts = ["2024-3-22 11:24:05+00:00", "2024-03-2T11:24:05Z", *beside]

    found = rows_of(written([["start_time"], *([text] for text in texts)]), product="AMD")

    assert [row["start_time"].day for row in found[:2]] == [22, 2]
    assert found[0] == {"start_time": datetime(2024, 3, 22, 11, 24, 5, tzinfo=UTC)}


@pytest.mark.parametrize("text", ["TRUE", "true", "FALSE", "false"])
@pytest.mark.parametrize(
    ("product", "name"),
    [("SMS", "concatenated"), ("VERIFY-V2", "if_fraud_check"), ("REPORTS-USAGE", "is_charged")],
)
def test_boolean_may_be_in_capitals(product: str, name: str, text: str) -> None:
    assert rows_of(written([[name], [text]]), product=product) == [{name: text.lower() == "true"}]


def test_money_that_does_not_fit_is_rescued_and_counted() -> None:
    dataset, table = converted(b"id,total_price\n1,0.123456789\n2,0.12345678\n3,\n")

    assert table["total_price"].to_pylist() == [None, Decimal("0.12345678"), None]
    assert table["_rescued"].to_pylist() == [[("total_price", "0.123456789")], None, None]
    assert dataset.rescued_cells == 1
    assert dataset.totals == (Total(None, Decimal("0.12345678"), 3, 2, 1, 3),)


@pytest.mark.parametrize(
    ("name", "text"),
    [("latency", "0x10"), ("latency", "007"), ("latency", "-0"), ("concatenated", "1")],
)
def test_possible_code_is_no_number_and_no_boolean(name: str, text: str) -> None:
    # Alone in its column, or beside values that fit.
    for others in ([], ["12"] if name == "latency" else ["True"]):
        (row, *_) = rows_of(written([[name], [text], *([each] for each in others)]))
        assert row == {"_rescued": {name: text}}


@pytest.mark.parametrize("text", ["0000-00-00T00:00:00Z", "0000-01-01T00:00:00Z"])
@pytest.mark.parametrize("beside", [f"{MINUTE}Z", "misfit"])
def test_time_before_the_year_1_is_rescued(text: str, beside: str) -> None:
    (row, *_) = rows_of(written([["date_received"], [text], [beside]]))
    assert row == {"_rescued": {"date_received": text}}


@pytest.mark.parametrize(
    ("text", "price"),
    [("1E-7", "0.0000001"), ("0E-8", "0"), (".5", "0.5"), ("+1", "1"), ("06.50", "6.5")],
)
def test_price_may_have_any_notation(text: str, price: str) -> None:
    assert rows_of(f"total_price\n{text}\n".encode()) == [{"total_price": Decimal(price)}]


def test_unknown_column_is_rescued_under_its_name() -> None:
    dataset, table = converted(b"id,brand_new,status\n1,a,sent\n2,,sent\n3,c,sent\n")

    assert table["_rescued"].to_pylist() == [[("brand_new", "a")], None, [("brand_new", "c")]]
    assert dataset.rescued == {"brand_new": 2}


def test_files_of_one_report_may_have_different_columns() -> None:
    first, second = b"id,status\n1,sent\n", b"id,extra,total_price,status\n2,x,0.5,failed\n"

    dataset, table = converted(first, b"", second, first)

    assert table["id"].to_pylist() == ["1", "2", "1"]
    assert table["total_price"].to_pylist() == [None, Decimal("0.5"), None]
    assert dataset.headers == (("id", "status"), ("id", "extra", "total_price", "status"))
    assert dataset.rows == 3


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n\r\n", b"id,status", b"id,status\n\n"])
def test_dataset_without_rows_has_every_column(content: bytes) -> None:
    dataset, table = converted(content)

    assert (dataset.rows, table.num_rows, dataset.totals) == (0, 0, ())
    assert table.column_names == [*SMS, *OUR_NAMES]


def test_dataset_without_an_archive_has_every_column() -> None:
    dataset, table = converted()

    assert (dataset.rows, dataset.headers) == (0, ())
    assert table.column_names == [*SMS, *OUR_NAMES]


def test_unknown_product_has_the_columns_of_its_first_header() -> None:
    dataset, table = converted(
        b"id,cost_centre,total_price,currency\n1,a,0.5,EUR\n", b"id,other\n2,b\n", product="NEW"
    )

    assert [(column.name, column.type.value) for column in dataset.columns] == [
        ("id", "string"),
        ("cost_centre", "string"),
        ("total_price", "decimal(18,8)"),
        ("currency", "string"),
        ("_currency", "string"),
        ("_revision", "string"),
        ("_collected_at", "timestamp"),
        ("_window_start", "timestamp"),
        ("_rescued", "map<string,string>"),
    ]
    assert table["_rescued"].to_pylist() == [None, [("other", "b")]]
    assert dataset.totals == (
        Total(None, Decimal(0), 1, 1, 0, 1),
        Total("EUR", Decimal("0.5"), 1, 0, 0, 1),
    )


# Bad input


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"id,status\n1,a\n2,b,c\n3,d\n", "line 3: 3 fields where the header has 2"),
        (b"id,status\n1,a\n2\n", "line 3: 1 field where the header has 2"),
        (b'id,status\n1,"a\n\nb"\n2,b,c\n', "line 5: 3 fields"),
        (b'id,status\n1,a\n2,"b\n3,c\n4,d\n', "line 3: a quote in this record is never closed"),
        (b'id,status\n1,a\n2,"b', "line 3: a quote in this record is never closed"),
        (b'id\n1\n"2\n3\n', "line 3: a quote in this record is never closed"),
        (b'id,"status\n1,a\n2,b\n', "line 1: a quote in this record is never closed"),
        (b'id,"sta\ntus"\n1,a\n', "line 1: a name in the header spans several lines"),
        (b'id,status\n1,"a" b\n', "line 2: text behind a closing quote"),
        (b'id,status\n1,"a\n2,b\n3,"c\n4,d\n', "line 2: text behind a closing quote"),
        (b'id,status\n1,a"b\n', "line 2: a quote inside a cell that does not begin with a quote"),
        (b'id,status\n1, "a"\n', "line 2: a quote inside a cell that does not begin with"),
        (b'"id" ,status\n1,a\n', "line 1: text behind a closing quote"),
        (b"id,status\n1,a\r\r\n", "line 2: a CR alone, outside of quotes"),
        (b"," * 4_096 + b"\n", "line 1: more than 4,096 columns"),
        (b"id,st\xff\n1,a\n", "line 1: a name in the header is not UTF-8"),
        (b"id,status\n1,a\n2,b\r3,c\n", "line 3: a CR alone, outside of quotes"),
        (b"id,status\r1,a\r2,b\r", "line 1: a CR alone, outside of quotes"),
        (b"\n\nx,,#2\n1,2,3\n", "line 3: names in the header are ambiguous"),
        (b"id,total_price,total_price\n1,2,3\n", "line 1: names in the header are ambiguous: tot"),
        ("id,status, S\u200btatus\n1,2,3\n".encode(), "line 1: names in the header are ambiguous"),
    ],
)
@pytest.mark.parametrize("block", [30, 2**20])
def test_unreadable_row_raises_with_its_line(content: bytes, line: str, block: int) -> None:
    with pytest.raises(RowsUnreadable, match=re.escape(f"report.csv, {line}")):
        converted(content, block_bytes=block)


def test_error_in_a_row_quotes_no_cell() -> None:
    with pytest.raises(RowsUnreadable) as caught:
        converted(b"from,to\n447700900123,447700900456,secret\n")

    error: BaseException | None = caught.value
    while error is not None:
        assert not re.search("447700|secret", str(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_field_without_a_name_is_rescued_by_place() -> None:
    assert rows_of("id,, \ufeff\n1,x,y\n".encode()) == [
        {"id": "1", "_rescued": {"#2": "x", "#3": "y"}}
    ]


@pytest.mark.parametrize("product", ["SMS", "NEW"])
def test_names_are_found_in_any_case_and_among_blanks(product: str) -> None:
    header = "ID,\u200bTotal_Price\ufeff, date_received\xa0,CURRENCY,Brand_New"
    content = f"{header}\n1,0.5,{MINUTE}Z,,x\n".encode()

    dataset, table = converted(content, product=product, accepts_missing_columns=False)

    (total,) = dataset.totals
    assert (total.total_price, total.rows, total.rows_without_price) == (Decimal("0.5"), 1, 0)
    assert table["id"].to_pylist() == ["1"]
    assert dataset.rescued == ({"Brand_New": 1} if product == "SMS" else {})


@pytest.mark.parametrize(
    ("product", "content", "reason"),
    [
        ("SMS", b"account_id;id;total_price\na;1;0.5\n",
         "line 1: the header has none of the product's columns, but account_id, id, total_price"),
        ("SMS", b"447700900123,Hello you,x1\na,b,c\n",
         "line 1: the header has none of the product's columns, but x1, 2 more"),
        ("SMS", b"\nid,date_received,currency,Cost\n1,,,2\n",
         "line 2: the header has no total_price; its unknown names: Cost"),
        ("SMS", b"id,total_price,Currency\n1,2,\n",
         "line 1: the header has no date_received; its unknown names: none"),
        ("SMS", b"id,date_received,total_price,ccy\n1,,2,GBP\n",
         "line 1: the header has no currency; its unknown names: ccy"),
        ("VERIFY-API", b"id,price,currency,date_received\n1,2,,\n",
         "line 1: the header has no estimated_price; its unknown names: none"),
        ("VOICE-FAILED", b"id\n1\n", "line 1: the header has no date_start;"),
    ],
)  # fmt: skip
def test_rows_without_the_columns_that_count_are_refused(
    product: str, content: bytes, reason: str
) -> None:
    with pytest.raises(RowsUnreadable, match=re.escape(f"report.csv, {reason}")) as caught:
        converted(content, product=product, accepts_missing_columns=False)
    assert not re.search("447700|Hello", str(caught.value))


def test_default_currency_stands_for_an_empty_cell_only() -> None:
    content = b"id,total_price,currency\n1,1,\n2,1,GBP\n3,1,\x80\n"

    dataset, table = converted(content, collection=Collection(currency="USD"))

    assert table["_currency"].to_pylist() == ["USD", "GBP", None]
    assert {each.currency for each in dataset.totals} == {"USD", "GBP", None}


def test_header_of_a_file_without_rows_is_not_refused() -> None:
    files = (b"a;b\n", b"ID,id\n", b"")
    assert converted(*files, accepts_missing_columns=False)[0].rows == 0


def test_product_without_a_price_or_a_table_needs_no_price() -> None:
    content = b"id,date_start\n1,\n"

    assert converted(content, product="VOICE-FAILED", accepts_missing_columns=False)[0].rows == 1
    assert converted(b"a\n1\n", product="NEW", accepts_missing_columns=False)[0].rows == 1


def test_invalid_utf8_is_rescued_and_the_other_cells_are_kept() -> None:
    dataset, table = converted(
        b"id,message_body,x\n1,Gr\xfc\xdfe,\xff\n2,Gr\xc3\xbc\xc3\x9fe,y\n", block_bytes=2**20
    )

    assert table["id"].to_pylist() == ["1", "2"]
    assert table["message_body"].to_pylist() == [None, "Grüße"]
    assert table["_rescued"].to_pylist() == [
        [("message_body", r"Gr\xfc\xdfe"), ("x", r"\xff")],
        [("x", "y")],
    ]
    assert dataset.rescued == {"message_body": 1, "x": 2}


def test_nul_byte_is_a_character() -> None:
    assert rows_of(b"id,status\na\0b,\0\n") == [{"id": "a\0b", "status": "\0"}]


def test_field_of_ten_megabytes_is_read() -> None:
    long = "x" * 10_000_000
    rows = [["id", "message_body"], *([str(n), "short"] for n in range(50_000))]
    content = written([*rows, ["long", long], *rows[1:]])

    _, table = converted(content)

    assert table.num_rows == 100_001
    assert table["message_body"][50_000].as_py() == long
    assert table["id"].to_pylist() == [row[0] for row in [*rows[1:], ["long"], *rows[1:]]]


def test_endless_record_is_an_error_in_bounded_memory() -> None:
    with pytest.raises(RowsUnreadable, match=r"line 2: the record is longer than 16 MiB"):
        converted(b'id,status\n1,"' + b"x" * 20_000_000)


def test_byte_order_mark_is_dropped_from_the_header_only() -> None:
    mark = "\ufeff"
    assert rows_of(f'{mark}"id"\n{mark}1\n{mark}2\n'.encode()) == [
        {"id": f"{mark}1"},
        {"id": f"{mark}2"},
    ]


@pytest.mark.parametrize("width", [1, 80])
def test_header_may_have_one_column_or_eighty(width: int) -> None:
    header = ["id", *(f"column_{n}" for n in range(1, width))]
    rows = [[f"{row}-{n}" for n in range(width)] for row in range(3)]

    read = rows_of(written([header, *rows]))

    assert [row["id"] for row in read] == ["0-0", "1-0", "2-0"]
    assert [len(row.get("_rescued", {})) for row in read] == [width - 1] * 3


def test_empty_cell_of_the_only_column_is_a_row() -> None:
    dataset, table = converted(b'id\n1\n\n""\n2\n')

    assert table["id"].to_pylist() == ["1", None, None, "2"]
    assert dataset.rows == 4
