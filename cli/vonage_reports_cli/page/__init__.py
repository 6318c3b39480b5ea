"""`usage.html`: the usage and its cost on one page, which needs no network and no script."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.page.basis import basis_of
from vonage_reports_cli.page.document import Origin, page_of
from vonage_reports_cli.page.numbers import Numbers, numbers_of
from vonage_reports_cli.page.windows import Windows
from vonage_reports_cli.period import Period
from vonage_reports_cli.sql.dataset import Source, open_dataset
from vonage_reports_cli.status.model import Content

NAME = "usage.html"


@dataclass(frozen=True)
class Page:
    """The page as HTML, and the numbers in it. `words` has the windows as one line.

    `cautions` are sentences on refused definitions and on accepted losses.
    """

    html: str
    numbers: Numbers
    windows: Sequence[Windows]
    words: str
    cautions: Sequence[str]

    def write(self, target: Path) -> None:
        """Write the page. Raises BadInput, and leaves an earlier page as it is then."""
        if not target.name or target.is_dir():
            raise BadInput(f"cannot write {target}: Is a directory")
        partial = target.with_name(f".{target.name}.partial")
        try:
            partial.write_text(self.html, encoding="utf-8")
            partial.replace(target)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise BadInput(f"cannot write {target}: {error.strerror}") from error


def make_page(
    source: Source,
    origin: Origin,
    *,
    content: Content | None = None,
    month: Period | None = None,
    expire_before: datetime | None = None,
) -> Page:
    """Make the page of a dataset, or of one of its months. `content` is the stack's ledger.

    The datasets of windows that end before `expire_before` may have expired.
    """
    with open_dataset(source, with_manifests=False) as connection:
        numbers = numbers_of(connection, month)
    basis = basis_of(source, content, month, expire_before)
    html = page_of(numbers, basis, origin, month)
    return Page(html, numbers, basis.windows, basis.words, basis.cautions)
