"""The bill: how many records were charged, and how many records were charged more than once.

Vonage bills a record each time a report contains it. Stream, hour and sequence identify a record.
Each stream and hour has one integer. Its bit n is set if the set contains the record with sequence
number n.
"""

from collections import defaultdict

from .records import Stream

Hour = tuple[Stream, int]


class Selection:
    """The records in one report."""

    def __init__(self) -> None:
        self._bits: defaultdict[Hour, bytearray] = defaultdict(bytearray)
        self.records = 0

    def add(self, stream: Stream, hour: int, sequence: int) -> None:
        """Add one record."""
        bits = self._bits[stream, hour]
        byte, bit = divmod(sequence, 8)
        if byte >= len(bits):
            bits.extend(bytes(byte + 1 - len(bits)))
        bits[byte] |= 1 << bit
        self.records += 1

    def by_hour(self) -> dict[Hour, int]:
        """Return the bits of each hour as one integer."""
        return {hour: int.from_bytes(bits, "little") for hour, bits in self._bits.items()}


class Bill:
    """The charges for all reports of the account."""

    def __init__(self) -> None:
        self.records_by_report: dict[str, int] = {}
        self._billed: defaultdict[Hour, int] = defaultdict(int)
        self._billed_again: defaultdict[Hour, int] = defaultdict(int)

    def charge(self, request_id: str, selection: Selection) -> None:
        """Charge every record of a finished report."""
        self.records_by_report[request_id] = selection.records
        for hour, bits in selection.by_hour().items():
            self._billed_again[hour] |= self._billed[hour] & bits
            self._billed[hour] |= bits

    @property
    def records_total(self) -> int:
        """How many records were charged. A record counts once in each report that contains it."""
        return sum(self.records_by_report.values())

    @property
    def records_billed_more_than_once(self) -> int:
        """How many records were charged in more than one report."""
        return sum(bits.bit_count() for bits in self._billed_again.values())
