"""The folders of a run: `.local/`, which one run has to itself, and `out/` for what comes of it."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.runner.options import BadInput

_ROOT = Path(__file__).resolve().parents[2]
STATE = _ROOT / ".local"
OUT = _ROOT / "out"


@contextmanager
def work_alone(state: Path) -> Iterator[None]:
    """Keep a second run away: two would take `out/` from each other, and buy windows twice.

    What a run that was killed left behind is removed. Raises BadInput.
    """
    require_writable(state)
    with (state / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput("another make run is at work in this folder") from error
        for left in state.glob("run-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def require_writable(folder: Path) -> None:
    """Try whether files can be made in a folder, which is made if need be. Raises BadInput."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _not_writable(folder, error) from error


def require_replaceable(out: Path) -> None:
    """Try whether `replace` can succeed, without touching what is there. Raises BadInput."""
    if out.exists() and not out.is_symlink():
        if not out.is_dir():
            raise BadInput(f"{out} is no folder: what is delivered would go there, move it away")
        require_writable(out)
    require_writable(out.parent)


def replace(out: Path, kept: Path | None) -> None:
    """Make `out` empty, or a link to the folder of what is kept. Raises BadInput."""
    try:
        if out.is_symlink():
            out.unlink()
        elif out.exists():
            shutil.rmtree(out)
        if kept is None:
            out.mkdir()
        else:
            kept.mkdir(parents=True, exist_ok=True)
            out.symlink_to(kept.relative_to(out.parent))
    except OSError as error:
        raise _not_writable(Path(error.filename or out), error) from error


def _not_writable(path: Path, error: OSError) -> BadInput:
    return BadInput(f"{path} cannot be written: {error.strerror}")
