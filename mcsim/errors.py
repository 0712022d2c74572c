"""The one error that a user sees: where it is, what is wrong, what would be valid."""

import difflib
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """Bad input. The command line prints it as one message and exits with code 2.

    `what` says what is wrong, `file` and `key` where (a key is dotted: `timing.gap_sigma`), `valid` what
    would do.
    """

    def __init__(
        self, what: str, *, file: str | Path | None = None, key: str | None = None, valid: str | None = None
    ) -> None:
        """Compose the message; each part may be left out but `what`."""
        self.what = what
        self.file = None if file is None else str(file)
        self.key = key
        self.valid = valid
        where = [part for part in (self.file, key) if part]
        text = ": ".join([*where, what])
        super().__init__(f"{text}\n  valid: {valid}" if valid else text)

    def at(self, *, file: str | Path | None = None, key: str | None = None) -> "UserError":
        """The same error with a place where it had none."""
        return UserError(self.what, file=self.file or file, key=self.key or key, valid=self.valid)


class InvariantViolatedError(RuntimeError):
    """A checked boot came to a state that must not be (kernels/invariants.py): an error of mcsim, not of the input."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the known word closest to `word`, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""
