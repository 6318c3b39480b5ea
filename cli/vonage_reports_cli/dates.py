"""Dates on the command line."""

from datetime import date

import click

from vonage_reports_cli.errors import BadInput


class Date(click.ParamType[date]):
    """A date such as 2026-01-31."""

    name = "date"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> date:
        """Parse the text of an option."""
        if isinstance(value, date):
            return value
        text = str(value)
        try:
            # Python also takes other forms, such as 20260131.
            found = date.fromisoformat(text)
            is_written_so = str(found) == text
        except ValueError:
            is_written_so = False
        if not is_written_so:
            self.fail(f"{text!r} is no date; write one such as 2026-01-31", param, ctx)
        return found


def require_order(start: date, end: date) -> None:
    """Raise BadInput unless a range of dates, end excluded, has a date."""
    if end <= start:
        raise BadInput(
            f"--until {end} is not after --from {start}; --until is the day after the last one"
        )
