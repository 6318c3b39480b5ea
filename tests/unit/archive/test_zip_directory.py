"""The central directory is read in ranges, and only its sizes are used."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.zips import STORED, File, Parts
from vonage_reports.archive.zip_directory import compressed_sizes, read_directory

ARCHIVE = Parts(files=(File(method=STORED, content=b"x" * 100_000), File(name=b"b"))).build()


class InMemory:
    """An archive, and how many bytes were read of it."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.size = len(content)
        self.was_read = 0

    @contextmanager
    def open(self, start: int, length: int) -> Iterator[io.BytesIO]:
        self.was_read += length
        yield io.BytesIO(self.content[start : start + length])


def test_sizes_are_in_the_order_of_the_directory() -> None:
    source = InMemory(ARCHIVE)

    assert compressed_sizes(source) == [100_000, len(File().data)]
    assert source.was_read < len(ARCHIVE) * 2
    assert len(read_directory(source)[0]) == 2


@pytest.mark.parametrize("content", [b"", b"<html>", ARCHIVE[:-1], ARCHIVE[-30:]])
def test_unreadable_directory_has_no_sizes(content: bytes) -> None:
    assert compressed_sizes(InMemory(content)) == []


@given(st.integers(0, 150), st.binary(min_size=1, max_size=8))
def test_spoiled_directory_raises_nothing_else(place: int, bytes_: bytes) -> None:
    content = bytearray(ARCHIVE)
    content[-1 - place : -1 - place + len(bytes_)] = bytes_
    compressed_sizes(InMemory(bytes(content)))


def test_error_of_the_source_says_nothing_about_the_archive() -> None:
    class Fails(InMemory):
        def open(self, start: int, length: int) -> Any:
            raise TimeoutError(start, length)

    with pytest.raises(TimeoutError):
        compressed_sizes(Fails(ARCHIVE))
