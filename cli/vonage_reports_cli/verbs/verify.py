"""`verify`: prove again what was delivered, from the bucket alone."""

import sys
from collections.abc import Iterator
from decimal import Decimal

import click
from rich.console import Console
from rich.progress import track

from vonage_reports.domain.printable import printable
from vonage_reports_cli.errors import Exit
from vonage_reports_cli.money import plain
from vonage_reports_cli.objects import expires_before, objects_of
from vonage_reports_cli.period import month_of
from vonage_reports_cli.proof.model import Difference, Proof
from vonage_reports_cli.proof.prove import prove
from vonage_reports_cli.session import Session, verb

_MB = 1_000_000
_HELP = """Prove again what was delivered, from the bucket alone.

Archives: SHA-256 and CRCs against receipt and manifest. Datasets: SHA-256, rows and totals against
the manifest and against the archives' own CSV files. One final manifest for each window, no dataset
without a manifest, and no gap between the windows of a definition and account.

Every archive is downloaded. The exit code is 1 if anything differs. Objects that have expired or
are cold are listed as not proved.
"""


@verb(help=_HELP)
@click.option("--month", metavar="MONTH", help="Only the windows of a month, like 2026-11.")
def verify(session: Session, *, month: str | None) -> Exit:  # noqa: D103 - the help is the docstring
    period = None if month is None else month_of(month)
    screen, target = session.screen, session.target
    screen.say(target.source)
    proof = prove(
        objects_of(session),
        period,
        expires_before=expires_before(session),
        track=lambda proofs, count: _tracked(session, proofs, count),
    )
    if screen.as_json:
        screen.document(
            {
                "source": target.source,
                "simulated": target.is_simulated,
                "period": None if period is None else period.to_dict(),
                "windows": proof.windows,
                "archives": proof.archives,
                "bytes": proof.bytes,
                "rows": proof.rows,
                "totals": [
                    {"currency": currency, "total_price": plain(amount)}
                    for currency, amount in _totals(proof)
                ],
                "differences": [each.to_dict() for each in proof.differences],
                "unproved": [each.to_dict() for each in proof.unproved],
            }
        )
    of = "all time" if period is None else period.label
    screen.say(
        f"Proved for {of}: {proof.windows:,} windows, {proof.archives:,} archives "
        f"({proof.bytes / _MB:,.1f} MB), {proof.rows:,} rows."
    )
    for currency, amount in _totals(proof):
        screen.say(f"Total {plain(amount)} {currency or '(no currency)'}")
    _list(session, "Not proved, because the object has expired or is cold:", proof.unproved)
    if not proof.differences:
        screen.say("Nothing differs." if proof.windows else "No window is delivered here.")
        return Exit.DONE
    noun = "difference" if len(proof.differences) == 1 else "differences"
    _list(session, f"{len(proof.differences):,} {noun}:", proof.differences)
    return Exit.ATTENTION


def _totals(proof: Proof) -> list[tuple[str | None, Decimal]]:
    return sorted(proof.totals.items(), key=lambda each: each[0] or "")


def _list(session: Session, head: str, found: list[Difference]) -> None:
    if found:
        session.screen.say(head)
    for each in found:
        session.screen.say(
            printable(f"  {each.definition}, {each.account_id}, {each.window}"),
            printable(f"    {each.key}: {each.reason}" if each.key else f"    {each.reason}"),
        )


def _tracked(session: Session, proofs: Iterator[Proof], count: int) -> Iterator[Proof]:
    """Show a progress bar on standard error, if it is a terminal."""
    yield from track(
        proofs,
        "Proving",
        total=count,
        console=Console(stderr=True, no_color=session.no_color or None),
        transient=True,
        disable=session.quiet or not sys.stderr.isatty(),
    )
