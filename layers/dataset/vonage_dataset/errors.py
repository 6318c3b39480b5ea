"""The error of the dataset, a leaf of the tree in `vonage_reports.domain.errors`."""

from vonage_reports.domain.errors import VonageReportsError


class RowsUnreadable(VonageReportsError):
    """A CSV in a proven archive cannot be read as rows. Another download would be the same bytes.

    The text names the member and the line, and quotes nothing of it: rows hold phone numbers.
    """
