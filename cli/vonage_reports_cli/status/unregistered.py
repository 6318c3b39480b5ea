"""The delivered windows that wait for Glue's catalogue."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from vonage_reports.domain.catalogue import Registration
from vonage_reports.domain.commands import PROGRAM
from vonage_reports.domain.windows import format_instant

HELP = "docs/operate.md#cataloguewaitingalarm"


@dataclass(frozen=True)
class Unregistered:
    """The deliveries that the catalogue lacks, at least one."""

    registrations: Sequence[Registration]

    @property
    def definitions(self) -> list[str]:
        """The names of their definitions."""
        return sorted({each.definition for each in self.registrations})

    @property
    def since(self) -> str:
        """When the first of them was delivered."""
        return format_instant(min(each.since for each in self.registrations))

    @property
    def reason(self) -> str:
        """The effect, the usual cause, and where its commands are."""
        count = len(self.registrations)
        windows = f"{count:,} delivered window{'s' if count > 1 else ''}"
        return (
            f"{windows} of {', '.join(self.definitions)} since {self.since}: Athena does not find "
            "the records, and the files are in the bucket. Glue refuses to register them, often "
            f"because Lake Formation lacks a grant: {HELP}. The log has Glue's answer"
        )

    def command(self, stack: str | None) -> str:
        """Return the command that shows Glue's answer."""
        target = ["--stack", stack] if stack else []
        return shlex.join([PROGRAM, *target, "logs", "submit"])

    def of(self, definition: str) -> "Unregistered | None":
        """Return the deliveries of one definition, or None without any."""
        return unregistered([each for each in self.registrations if each.definition == definition])

    def to_dict(self, stack: str | None) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "windows": len(self.registrations),
            "since": self.since,
            "definitions": self.definitions,
            "reason": self.reason,
            "command": self.command(stack),
        }


def unregistered(registrations: Sequence[Registration]) -> Unregistered | None:
    """Return the deliveries that wait, or None without any."""
    return Unregistered(registrations) if registrations else None
