"""Progress of a training on the terminal; chapters that train at the same time share one line of it."""

import io
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

FRAME = "{desc} {percentage:.0f}%: epoch {n_fmt}/{total_fmt}{postfix}, {remaining} left"
FRESH = 30  # seconds; a chapter that was killed leaves the line after so long


class Bar:
    """How far a training is."""

    def __init__(self, bar: tqdm) -> None:
        self._bar = bar

    def show(self, epochs: int, loss: float) -> None:
        """Args: epochs, trained so far, of all models; loss, mean of the last one, nats a digit."""
        if not self._bar.n:  # start-up and compilation come before the first epoch, and tell nothing of the others
            self._bar.n = self._bar.initial = self._bar.last_print_n = epochs
            self._bar.unpause()
        self._bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
        self._bar.update(epochs - self._bar.n)

    @property
    def epochs(self) -> int:
        """Trained so far, of all models."""
        return int(self._bar.n)


@contextmanager
def bar(folder: Path, what: str, epochs: int) -> Iterator[Bar]:
    """A bar on the terminal, with the loss and the time left; a log gets a line twice a minute instead.

    Args: folder, where the processes that share the terminal leave each other their part of the line.
        epochs, how many there are, of all models.
    """
    with (
        _terminal() as terminal,
        _SharedLine(terminal, folder / ".progress") as line,
        tqdm(
            total=epochs, desc=what, file=line, bar_format=FRAME, miniters=1, mininterval=1 if terminal.isatty() else 30
        ) as shown,
    ):  # fmt: skip
        yield Bar(shown)


class _SharedLine(io.StringIO):
    """What a bar writes to: it keeps its own frame in a file, and draws the frames of all on one line."""

    def __init__(self, terminal: TextIO, folder: Path) -> None:
        super().__init__()
        self.terminal, self.own = terminal, folder / str(os.getpid())

    def write(self, frame: str) -> int:
        text = frame.strip()
        if text and self.terminal.isatty():
            self.own.parent.mkdir(parents=True, exist_ok=True)
            self.own.write_text(text)
            columns = os.get_terminal_size(self.terminal.fileno()).columns or 1_000  # not every terminal tells
            self.terminal.write("\r" + " | ".join(_fresh(self.own.parent))[: columns - 1] + "\x1b[K")
        elif text:
            self.terminal.write(text + "\n")
        self.terminal.flush()
        return len(frame)

    def close(self) -> None:
        if self.own.is_file():
            self.terminal.write("\n")
            self.own.unlink(missing_ok=True)
        super().close()


def _fresh(folder: Path) -> Iterator[str]:
    for path in sorted(folder.iterdir()):
        try:
            if time.time() - path.stat().st_mtime < FRESH:
                yield path.read_text()
        except FileNotFoundError:  # it has just ended
            continue


def _terminal() -> TextIO:
    """Where progress goes: the terminal behind a kernel, because a notebook would store every frame of the bar."""
    try:
        descriptor = sys.stderr.fileno()
    except io.UnsupportedOperation:  # a kernel that captures no descriptors has left the first one alone
        descriptor = sys.__stderr__.fileno() if sys.__stderr__ else os.open(os.devnull, os.O_WRONLY)
    return os.fdopen(os.dup(descriptor), "w")
