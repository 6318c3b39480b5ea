"""`out/`: the results of the last run that delivered a report.

Until its first delivery, a run keeps its files in `.local/undelivered/`, and `out/` keeps an
earlier run's. Files of the operator in `out/` stay.
"""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from local.output.delivery import NOTIFICATIONS, Delivery
from local.runner.folders import file_of, not_writable, require_writable
from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.last_run import DeliveringRun, OutRecord
from vonage_reports_cli.page import NAME as PAGE

UNDELIVERED = "undelivered"

_PREFIXES = ("archives", "refused", "data", "unreadable", "manifests", "headers")
"""The folders that an earlier version wrote, which kept no record of its files."""


class Results:
    """Where a run's files go. `saved` is the folder of a server that bills, or None."""

    def __init__(self, out: Path, state: Path, saved: Path | None) -> None:
        self._out = out
        self._saved = saved
        self._record = OutRecord(state)
        self.folder = saved or state / UNDELIVERED
        """The folder of the run's files until its first delivery."""
        self.are_taken = False
        """Whether `out/` has this run's files."""

    def require_replaceable(self) -> None:
        """Check that `out/` can be replaced, and change nothing. Raises BadInput."""
        out = self._out
        if out.exists() and not out.is_symlink():
            if not out.is_dir():
                raise BadInput(f"{out} is not a folder, but the results go there: move it away")
            require_writable(out)
            self._require_no_own_files()
        require_writable(out.parent)

    def begin(self) -> None:
        """Delete the files of an earlier run that delivered nothing. Raises BadInput."""
        if self._saved is None:
            try:
                if self.folder.exists():
                    shutil.rmtree(self.folder)
            except OSError as error:
                raise not_writable(Path(error.filename or self.folder), error) from error

    def take(self, delivery: Delivery, run: DeliveringRun) -> None:
        """After the run's first delivery, replace the earlier run's files in `out/`.

        Raises BadInput.
        """
        if not self.are_taken and delivery.has_delivered:
            self._take(delivery, run)

    def conclude(self, delivery: Delivery, run: DeliveringRun) -> None:
        """Take the files of a run without a delivery too, if `out/` has no earlier run's.

        Raises BadInput.
        """
        is_free = not self._out.is_symlink() and not self._written()
        if not self.are_taken and is_free:
            self._take(delivery, run)

    def announce(self, names: Iterable[str]) -> None:
        """Record files before they are written into `out/`."""
        if self.are_taken and self._saved is None:
            self._record.add(names)

    def _take(self, delivery: Delivery, run: DeliveringRun) -> None:
        try:
            self._remove_written()
            self._record.begin(run)
            if self._saved is not None:
                self._link(self._saved)
            else:
                self._out.mkdir(exist_ok=True)
                self._move(delivery.folder)
                delivery.folder = self._out
        except OSError as error:
            raise not_writable(Path(error.filename or self._out), error) from error
        self.are_taken = True

    def _link(self, saved: Path) -> None:
        saved.mkdir(parents=True, exist_ok=True)
        if self._out.exists():
            self._out.rmdir()
        self._out.symlink_to(saved.relative_to(self._out.parent))

    def _move(self, folder: Path) -> None:
        names = [
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
        ]
        self._record.add([*names, PAGE])
        for name in names:
            target = self._out / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder / name, target)
        shutil.rmtree(folder)

    def _remove_written(self) -> None:
        """Remove the files of the earlier run from `out/`, and the folders left empty."""
        if self._out.is_symlink():
            # The earlier run's server keeps its files in `.local/`.
            self._out.unlink()
            return
        for name in self._written():
            path = file_of(self._out, name)
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == self._out:
                    break
                # Not empty: another file is still to be removed, or is the operator's.
                with suppress(OSError):
                    folder.rmdir()

    def _written(self) -> list[str]:
        """Return the paths below `out/` that a run wrote."""
        if self._out.is_symlink():
            return []
        names = self._record.files()
        if names is None:
            names = [path.relative_to(self._out).as_posix() for path in self._of_earlier_version()]
        return names

    def _of_earlier_version(self) -> Iterator[Path]:
        for prefix in _PREFIXES:
            yield from (path for path in (self._out / prefix).rglob("*") if path.is_file())
        yield from (path for name in (NOTIFICATIONS, PAGE) if (path := self._out / name).is_file())

    def _require_no_own_files(self) -> None:
        """Check that a link can replace `out/`. Raises BadInput."""
        if self._saved is None:
            return
        written = set(self._written())
        for path in self._out.rglob("*"):
            name = path.relative_to(self._out).as_posix()
            is_own = name not in written if path.is_file() else not any(path.iterdir())
            if is_own:
                raise BadInput(
                    f"{self._out.name}/{name} is your own: move it away, because "
                    f"{self._out.name}/ is going to be a link to {self._saved}"
                )
