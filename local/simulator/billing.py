"""The bill: which records were paid for, and which of them more than once.

Vonage bills a record each time a report contains it. A record is known by its stream, hour and
sequence, so a set of records is one integer per stream and hour whose bits are the sequences.
"""

from collections import defaultdict

from .records import Stream

Hour = tuple[Stream, int]


class Selection:
    """The records that one report holds."""

    def __init__(self) -> None:
        self._bits: defaultdict[Hour, bytearray] = defaultdict(bytearray)
        self.records = 0

    def add(self, stream: Stream, hour: int, sequence: int) -> None:
        """Put in one record."""
        bits = self._bits[stream, hour]
        byte, bit = divmod(sequence, 8)
        if byte >= len(bits):
            bits.extend(bytes(byte + 1 - len(bits)))
        bits[byte] |= 1 << bit
        self.records += 1

    def by_hour(self) -> dict[Hour, int]:
        """Give the bits of every hour as one integer each."""
        return {hour: int.from_bytes(bits, "little") for hour, bits in self._bits.items()}


class Bill:
    """What all reports of the account add up to."""

    def __init__(self) -> None:
        self.records_by_report: dict[str, int] = {}
        self._billed: defaultdict[Hour, int] = defaultdict(int)
        self._billed_again: defaultdict[Hour, int] = defaultdict(int)

    def charge(self, request_id: str, selection: Selection) -> None:
        """Charge for every record of a finished report."""
        self.records_by_report[request_id] = selection.records
        for hour, bits in selection.by_hour().items():
            self._billed_again[hour] |= self._billed[hour] & bits
            self._billed[hour] |= bits

    @property
    def records_total(self) -> int:
        """Records charged, each as often as it was in a report."""
        return sum(self.records_by_report.values())

    @property
    def records_billed_more_than_once(self) -> int:
        """Different records that more than one report was charged for."""
        return sum(bits.bit_count() for bits in self._billed_again.values())
