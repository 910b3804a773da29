"""Progress of a training on the terminal; chapters that train at the same time share one line of it."""

import contextlib
import io
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

FRAME = "{desc} {percentage:.0f}%: epoch {n_fmt}/{total_fmt}{postfix}, {remaining} left"
ALL = "{desc}, {remaining} left"  # of many trainings
FRESH = 120  # seconds; a chapter that was killed leaves the line after so long


class Bar(tqdm):
    """How far a training is; `n` epochs of all its models are trained. Or how far many are, by the seconds expected."""

    def __init__(self, own: Path, terminal: TextIO, what: str, total: float, frame: str) -> None:
        self.own = own  # the file of its frame, for the other processes
        often = 0 if frame == ALL else 1 if terminal.isatty() else 30  # seconds
        super().__init__(total=total, desc=what, file=terminal, bar_format=frame, miniters=0, mininterval=often,
                         smoothing=0, leave=False)  # fmt: skip

    def show(self, epochs: float, loss: float) -> None:
        """Args: epochs, trained so far; loss, mean of the last one, nats a digit."""
        if not self.n:  # start-up and compilation come before the first epoch, and tell nothing of the others
            self.n = self.initial = self.last_print_n = epochs
            self.unpause()
        self.set_postfix_str(f"loss {loss:.3f}", refresh=False)
        self.update(epochs - self.n)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw the frames of all processes on one line of the terminal, or its own on a line of the log."""
        if self.fp.isatty():
            try:
                self.own.parent.mkdir(parents=True, exist_ok=True)
                self.own.write_text(str(self))
                frames = [*_fresh(self.own.parent)]
            except OSError:  # no room, or a folder of somebody else's
                frames = [str(self)]
            columns = os.get_terminal_size(self.fp.fileno()).columns or 1_000  # not every terminal tells
            self.fp.write("\r" + " | ".join(frames)[: columns - 1] + "\x1b[K")
        else:
            self.fp.write(f"{self}\n")
        self.fp.flush()


@contextlib.contextmanager
def bar(folder: Path, what: str, total: float, frame: str = FRAME) -> Iterator[Bar]:
    """A bar on the terminal, with the loss and the time left; a log gets a line twice a minute instead.

    Args: folder, where the processes that share the terminal leave each other their frames; total, epochs, or with the
        frame ALL seconds.
    """
    try:  # the terminal behind a kernel, because a notebook would store every frame of the bar
        descriptor = sys.stderr.fileno()
    except (io.UnsupportedOperation, AttributeError):  # a kernel captures none, or there is no standard error at all
        descriptor = sys.__stderr__.fileno() if sys.__stderr__ else os.open(os.devnull, os.O_WRONLY)
    own = folder / ".progress" / str(os.getpid())
    with os.fdopen(os.dup(descriptor), "w") as terminal:
        try:
            with Bar(own, terminal, what, total, frame) as shown:
                yield shown
        finally:
            with contextlib.suppress(OSError):
                own.unlink(missing_ok=True)
            terminal.write("\n" * terminal.isatty())


def _fresh(folder: Path) -> Iterator[str]:
    for path in sorted(folder.iterdir()):
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            if time.time() - path.stat().st_mtime < FRESH:
                yield path.read_text()
