"""The last `make run` on this machine: its saved ledger, and the copy of its bucket."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.status.sources import LastRun, SavedLedger

STATE, OUT = ".local", "out"


class OutRecord:
    """The file in `.local/` that tells which run delivered `out/`, and which files the run wrote.

    Its first line is the run, each other line the path of a file below `out/`, both as JSON. A line
    is written before its file, so that a killed run leaves no file without a line.
    """

    NAME = "out.jsonl"

    def __init__(self, state: Path) -> None:
        self._path = state / self.NAME

    def begin(self, run: "DeliveringRun") -> None:
        """Forget the earlier run and its files."""
        self._path.write_text(json.dumps(run.to_dict()) + "\n")

    def add(self, names: Iterable[str]) -> None:
        """Add files."""
        with self._path.open("a") as file:
            file.writelines(json.dumps(name) + "\n" for name in names)

    def run(self) -> "DeliveringRun | None":
        """Return the run that delivered `out/`, or None if an earlier version wrote no record."""
        first = next(iter(self._lines()), None)
        return DeliveringRun.from_dict(first) if isinstance(first, dict) else None

    def files(self) -> list[str] | None:
        """Return the paths of the run's files, or None without a record."""
        lines = self._lines()
        return [each for each in lines if isinstance(each, str)] if lines else None

    def _lines(self) -> list[object]:
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return []
        try:
            # A killed run may have left a part of the last line.
            return [json.loads(line) for line in text.split("\n")[:-1]]
        except ValueError as error:
            raise BadInput(
                f"{self._path} is garbled: delete it, and move your own files out of {OUT}/"
            ) from error


@dataclass(frozen=True)
class DeliveringRun:
    """The run that delivered `out/`. `source` is its name."""

    source: str
    is_simulated: bool

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"source": self.source, "is_simulated": self.is_simulated}

    @classmethod
    def from_dict(cls, value: Mapping[str, object]) -> "DeliveringRun":
        """Read the JSON form."""
        return cls(str(value["source"]), bool(value["is_simulated"]))


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

    @cached_property
    def delivered_by(self) -> DeliveringRun | None:
        """The run that delivered `out/`, which is an earlier one if the last delivered nothing."""
        return OutRecord(self._state).run()

    @property
    def is_simulated(self) -> bool:
        """Whether the simulator made records of the last run, or those in `out/`."""
        delivered_by = self.delivered_by
        return self.ledger.is_simulated or (delivered_by is not None and delivered_by.is_simulated)

    @property
    def label(self) -> str:
        """The run's name, with a word for simulated records, and the run that `out/` is from."""
        name = f"{'SIMULATED: ' if self.is_simulated else ''}{self.ledger.source}"
        run = self.delivered_by
        if run is None or run.source == self.ledger.source:
            return name
        return f"{name}, which has delivered nothing; {OUT}/ is from an earlier run: {run.source}"

    @property
    def source(self) -> str:
        """The first line of each answer: where it is from, and when it was saved."""
        return f"{self.label}, as of {self.ledger.as_of:%Y-%m-%d %H:%M:%S} UTC"
