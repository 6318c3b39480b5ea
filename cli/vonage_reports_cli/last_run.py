"""The last `make run` on this machine: its saved ledger, and the copy of its bucket."""

from functools import cached_property
from pathlib import Path

from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.status.sources import LastRun, SavedLedger

STATE, OUT = ".local", "out"


class LastRunTarget:
    """The folder in which `make run` ran last. Only reads it."""

    def __init__(self, root: Path) -> None:
        self.out = root / OUT
        self._state = root / STATE

    @classmethod
    def find(cls) -> "LastRunTarget":
        """Find the folder: the working directory or one above it. Raises BadInput."""
        here = Path.cwd()
        for folder in (here, *here.parents):
            if (folder / STATE / LastRun.NAME).exists():
                return cls(folder)
        raise BadInput(
            f"no make run has ended in {here} or above: start `make run`, or name a stack on AWS "
            "with --stack"
        )

    price = None
    """A run on this machine has no PricePerRecord."""

    @cached_property
    def ledger(self) -> SavedLedger:
        """The ledger, as saved. Raises BadInput if the file is garbled."""
        return LastRun(self._state).read()

    @property
    def is_simulated(self) -> bool:
        """Whether the simulator made the records."""
        return self.ledger.is_simulated

    @property
    def label(self) -> str:
        """The run's name, with a word for simulated records."""
        return f"{'SIMULATED: ' if self.is_simulated else ''}{self.ledger.source}"

    @property
    def source(self) -> str:
        """The first line of each answer: where it is from, and when it was saved."""
        return f"{self.label}, as of {self.ledger.as_of:%Y-%m-%d %H:%M:%S} UTC"
