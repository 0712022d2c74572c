"""The one error that a user sees: where it is, what is wrong, what would be valid."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

# What a message shows of a text that a file may have made as long as it likes (characters).
LONGEST_PLACE = 400
LONGEST_WORDS = 2000


class UserError(Exception):
    """Bad input. The command line prints it as one message and exits with code 2.

    `what` says what is wrong, `file` and `key` where (a key is dotted: `timing.gap_sigma`), `valid` what
    would do. The message, `str()`, is fit for a terminal: control characters of files and names are escaped in it.
    """

    def __init__(
        self, what: str, *, file: str | Path | None = None, key: str | None = None, valid: str | None = None
    ) -> None:
        """Compose the message; each part may be left out but `what`."""
        self.what = what
        self.file = None if file is None else str(file)
        self.key = key
        self.valid = valid
        # One line each, whatever a name holds.
        places = [_shown(part, LONGEST_PLACE).replace("\n", "\\n") for part in (self.file, self.key) if part]
        text = ": ".join([*places, _shown(what, LONGEST_WORDS)])
        super().__init__(f"{text}\n  valid: {_shown(valid, LONGEST_WORDS)}" if valid else text)

    def at(self, *, file: str | Path | None = None, key: str | None = None) -> "UserError":
        """The same error with a place where it had none."""
        return UserError(self.what, file=self.file or file, key=self.key or key, valid=self.valid)


class TerminatedError(KeyboardInterrupt):
    """A signal asks the process to end; what is done is kept, as after Ctrl-C. `signal` is its number."""

    def __init__(self, signal: int) -> None:
        """By the signal of that number."""
        super().__init__(signal)
        self.signal = signal


def _shown(text: str, longest: int) -> str:
    """A text as a message has it: printable, and its middle left out if it is long."""
    from mcsim.files import printable  # which imports this module

    if len(text) > longest:
        text = f"{text[: longest - longest // 4]} ... {text[-longest // 4 :]}"
    # A line of its own begins with two blanks; any other end of line is of a file's text.
    return re.sub(r"\n(?!  )", r"\\n", printable(text))


class InvariantViolatedError(RuntimeError):
    """A checked boot came to a state that must not be (kernels/probe/invariants.py): our error, not of the input."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the known word closest to `word`, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""
