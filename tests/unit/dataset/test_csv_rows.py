"""Both readers give the cells that the file has, or refuse it."""

import hashlib
import io
import tracemalloc

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.csvs import member, separated, strict_records
from vonage_dataset.csv_rows import RECORD_BYTES, UnreadableRows, read_rows
from vonage_reports.domain.errors import RowsUnreadable

BY_PYTHON, BY_PYARROW = 4, 2**20
"""The sizes of a block. No record fits into the first one, so Python's csv reads them."""

PIECES = st.sampled_from(
    ["a", "b", ",", '"', '""', '","', "\n", "\r\n", "\r", "\0", "é", "\ufeff", " ", "-", "\xff"]
)


def cells_of(
    content: bytes, block: int, unreadable: UnreadableRows | None = None
) -> list[list[bytes]] | None:
    """Return the cells of the rows; None if the file is refused."""
    try:
        read = read_rows(member(content), block_bytes=block, unreadable=unreadable)
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


def read_leniently(content: bytes, block: int) -> tuple[list[list[bytes]], int, bytes]:
    """Return the cells of the readable rows, and the number and bytes of the unreadable texts."""
    file = io.BytesIO()
    unreadable = UnreadableRows(file)
    cells = cells_of(content, block, unreadable)
    assert cells is not None
    assert unreadable.bytes == len(file.getvalue())
    assert unreadable.sha256.digest() == hashlib.sha256(file.getvalue()).digest()
    return cells, unreadable.count, file.getvalue()


def judge_leniently(width: int, content: bytes, block: int) -> None:
    parts = separated(content, width)
    unreadable = [each for each in parts if isinstance(each, bytes)]
    cells = [each for each in parts if isinstance(each, list) and each]
    right = (cells, len(unreadable), b"".join(unreadable))
    header = ",".join("xyz"[:width]).encode() + b"\n"
    for size in (BY_PYTHON, BY_PYARROW, block):
        assert read_leniently(header + content, size) == right
    if not unreadable:
        assert cells_of(header + content, block) == cells


@given(
    width=st.integers(1, 3),
    text=st.lists(PIECES, max_size=60).map("".join),
    block=st.integers(8, 100),
)
@example(width=2, text='1,"never closed\n2,"a\nb"\n3,"c",d\n4,e', block=12)
@example(width=2, text='1,2\n\n3\n\n4,"5\n6",\n,"\n7,8\r', block=12)
@settings(deadline=None, max_examples=500)
def test_cells_and_unreadable_text_are_all_bytes(width: int, text: str, block: int) -> None:
    judge_leniently(width, text.encode("latin-1", "replace"), block)


@given(
    rows=st.lists(
        st.lists(
            st.sampled_from(["1", "a b", 'x"y', "x\ny", "a\r\nb", ""]), min_size=2, max_size=2
        ),
        max_size=20,
    ),
    faults=st.lists(
        st.tuples(
            st.integers(0, 19), st.sampled_from(['1,"open', 'a"b,c', '"a"b,c', "1", "1,2,3"])
        ),
        max_size=3,
    ),
    block=st.integers(8, 200),
)
@settings(deadline=None, max_examples=200)
def test_rows_around_a_fault_are_read(
    rows: list[list[str]], faults: list[tuple[int, str]], block: int
) -> None:
    lines = [written([row], quoted=[True]) for row in rows]
    for place, fault in faults:
        lines.insert(place, fault.encode() + b"\n")
    judge_leniently(2, b"".join(lines), block)


def test_every_odd_quote_is_read_in_linear_time() -> None:
    # Each line opens a cell, and closes that of the line before.
    content = b'x,"y\n' * 20_000 + b'x","y\n' * 20_000 + b"x,y\n" * 20_000

    cells, count, unreadable = read_leniently(b"a,b\n" + content, BY_PYARROW)

    assert (len(cells), count) == (20_000, 1)
    assert content.startswith(unreadable)


def test_unreadable_text_of_any_size_needs_constant_memory() -> None:
    line = b'"x' + b"y" * 2**20 + b"\n"
    content = b"a,b\n" + b'1,"' + b"z" * RECORD_BYTES + b"\n" + line * 40 + b"1,2\n"
    file = io.BytesIO()
    tracemalloc.start()
    try:
        cells = cells_of(content, BY_PYARROW, unreadable := UnreadableRows(file))
        peak = tracemalloc.get_traced_memory()[1] - len(file.getbuffer())
    finally:
        tracemalloc.stop()

    assert (cells, unreadable.count) == ([[b"1", b"2"]], 1)
    assert peak < 8 * RECORD_BYTES


def test_nul_does_not_hide_a_quote_at_the_end_of_a_block() -> None:
    row = b'"abcd1234","%d","%s"\n'
    before = b"".join(row % (number, b"x" * 200) for number in range(5_000))
    content = b'"a","b","c"\n' + before + b'"ab\0","","' + b"y" * 100 + b'"\n' + before

    assert cells_of(content, BY_PYARROW) == expected(content)
