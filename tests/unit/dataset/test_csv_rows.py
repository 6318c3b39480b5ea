"""Both readers give the cells that the file has, or refuse it."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.csvs import member, strict_records
from vonage_dataset.csv_rows import read_rows
from vonage_reports.domain.errors import RowsUnreadable

BY_PYTHON, BY_PYARROW = 4, 2**20
"""The sizes of a block. No record fits into the first one, so Python's csv reads them."""

PIECES = st.sampled_from(
    ["a", "b", ",", '"', '""', '","', "\n", "\r\n", "\r", "\0", "é", "\ufeff", " ", "-", "\xff"]
)


def cells_of(content: bytes, block: int) -> list[list[bytes]] | None:
    """Return the cells of the rows; None if the file is refused."""
    try:
        read = read_rows(member(content), block_bytes=block)
        return [
            [(cell or "").encode() if not isinstance(cell, bytes) else cell for cell in row]
            for batch in read.batches
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
        ]
    except RowsUnreadable:
        return None


def expected(content: bytes) -> list[list[bytes]] | None:
    records = strict_records(content)
    header = next((each for each in records or [] if each), [])
    if records is None:
        return None
    rows = records[records.index(header) + 1 :] if header else []
    rows = [row or [b""] for row in rows if row or len(header) == 1]
    return rows if all(len(row) == len(header) for row in rows) else None


def written(cells: list[list[str]], *, quoted: list[bool]) -> bytes:
    flags = iter(quoted * 100)
    return "".join(
        ",".join('"' + cell.replace('"', '""') + '"' if next(flags) else cell for cell in row)
        + "\n"
        for row in cells
    ).encode()


def judge(content: bytes, block: int) -> None:
    right = expected(content)
    assert cells_of(content, BY_PYTHON) == right
    assert cells_of(content, BY_PYARROW) == right
    assert cells_of(content, block) == right


@given(
    width=st.integers(1, 3),
    text=st.lists(PIECES, max_size=40).map("".join),
    block=st.integers(8, 100),
)
@example(width=2, text='aaaaaa\0,"', block=12)
@example(width=3, text='aaaa\0",,"', block=12)
@example(width=2, text='a,"b"\r\r\n', block=12)
@settings(deadline=None, max_examples=300)
def test_any_text_is_read_as_written_or_refused(width: int, text: str, block: int) -> None:
    judge((",".join("xyz"[:width]) + "\n" + text).encode("latin-1", "replace"), block)


@given(
    cells=st.integers(1, 3).flatmap(
        lambda width: st.lists(
            st.lists(st.lists(PIECES, max_size=4).map("".join), min_size=width, max_size=width),
            max_size=30,
        )
    ),
    quoted=st.lists(st.booleans(), min_size=1, max_size=6),
    block=st.integers(8, 200),
)
@settings(deadline=None, max_examples=200)
def test_cells_survive_quotes_and_block_ends(
    cells: list[list[str]], quoted: list[bool], block: int
) -> None:
    header = ["x", "y", "z"][: len(cells[0]) if cells else 1]
    judge(written([header, *cells], quoted=quoted), block)


def test_nul_does_not_hide_a_quote_at_the_end_of_a_block() -> None:
    row = b'"abcd1234","%d","%s"\n'
    before = b"".join(row % (number, b"x" * 200) for number in range(5_000))
    content = b'"a","b","c"\n' + before + b'"ab\0","","' + b"y" * 100 + b'"\n' + before

    assert cells_of(content, BY_PYARROW) == expected(content)
