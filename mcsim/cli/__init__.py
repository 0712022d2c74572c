"""The `mcsim` command. Commands import what they need when they run, so that `mcsim --help` is quick."""

import errno
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

import click

from mcsim.cli.check import check
from mcsim.cli.compare_command import compare
from mcsim.cli.diagnose_command import diagnose
from mcsim.cli.explain_command import explain
from mcsim.cli.import_command import import_command
from mcsim.cli.list_command import list_command
from mcsim.cli.menu import Menu
from mcsim.cli.merge_command import merge
from mcsim.cli.min_ram_command import min_ram
from mcsim.cli.new_command import new
from mcsim.cli.plan_command import plan
from mcsim.cli.rare_command import rare
from mcsim.cli.report_command import report
from mcsim.cli.run_command import run
from mcsim.cli.sensitivity_command import sensitivity

# Commands give 1 and 3 themselves: verdicts, which nothing else may end with.
EXIT_USER_ERROR = 2
EXIT_UNFORESEEN = 70  # EX_SOFTWARE of sysexits.h
EXIT_SIGNAL = 128  # and the number of the signal, as shells count
EXIT_INTERRUPTED = EXIT_SIGNAL + 2
EXIT_BROKEN_PIPE = EXIT_SIGNAL + 13

ENDING = (1, 2, 15)  # SIGHUP, SIGINT, SIGTERM
SECONDS_TO_END = 30  # from such a signal on; a chunk of boots takes about a second

COMPLETION = "_MCSIM_COMPLETE"  # in the environment: a shell asks how a word may go on


@click.group(
    name="mcsim",
    cls=Menu,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit code: 0 done; 1 what was checked differs, or is worse; 2 bad input, in one message; 3 undecided; 70 "
    "an error of mcsim itself; 130 Ctrl-C and 143 SIGTERM: what is done is kept, the same command continues.",
)
@click.version_option(package_name="mcsim", message="%(prog)s %(version)s")
def cli() -> None:
    """How likely is this boot to run out of contiguous memory, under which patch, how sure are we?

    \b
    Try:
      mcsim run mail-2022 --boots 200
      mcsim explain mail-2022 --variant maple-naive --ram 33M
      mcsim new my-board && mcsim run my-board.toml
    """


cli.add_section("Ask", run, report, compare, explain, plan, min_ram, sensitivity, rare, diagnose)
cli.add_section("Own board", new, import_command, list_command)
cli.add_section("Trust", check)
cli.add_section("Keep", merge)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit; docs/cli.md says what the codes mean."""
    _prepare_streams()
    _listen_to_signals()
    code = run_cli(arguments)
    # From here on Ctrl-C ends the process at once: workers that do not go need no traceback.
    with suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _leave_streams()
    sys.exit(code)


def run_cli(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code: what a command has given to `click.Context.exit`, or that of an error."""
    # `cli.main` would make exit code 1, a verdict, of a pipe that is closed; only the completion of shells needs it.
    if COMPLETION in os.environ:
        cli.main(prog_name="mcsim", complete_var=COMPLETION)
    code = 0
    try:
        try:
            with cli.make_context("mcsim", list(sys.argv[1:] if arguments is None else arguments)) as context:
                cli.invoke(context)
        except click.exceptions.Exit as end:
            code = end.exit_code
        sys.stdout.flush()
    except BaseException as error:  # also what no Exception is: a panic inside a library in Rust
        return _tell(error)
    return code


def _tell(error: BaseException) -> int:
    """Say in one message what has ended the command; return the exit code."""
    from mcsim.errors import TerminatedError, UserError
    from mcsim.files import printable

    match error:
        case UserError():
            _say(f"mcsim: {error}")
            return EXIT_USER_ERROR
        case click.exceptions.NoArgsIsHelpError():
            _say(error.ctx.get_help() if error.ctx else "")
            return EXIT_USER_ERROR
        case click.ClickException():
            message = io.StringIO()
            error.show(message)
            _say(printable(message.getvalue().rstrip("\n")))
            return EXIT_USER_ERROR
        case TerminatedError():
            _say("\nterminated")
            return EXIT_SIGNAL + error.signal
        case KeyboardInterrupt():
            _say("\ninterrupted")  # on a line of its own, behind the ^C of the terminal
            return EXIT_INTERRUPTED
        case OSError(errno=errno.EPIPE):  # of mcsim | head, which has seen enough
            return EXIT_BROKEN_PIPE
        case OSError() if error.errno is not None and error.strerror:
            # The system refuses something: a full disk, a folder that is gone, no more open files.
            _say(f"mcsim: {UserError(error.strerror, file=error.filename)}")
            return EXIT_USER_ERROR
    _say(_unforeseen(error))
    return EXIT_UNFORESEEN


def _unforeseen(error: BaseException) -> str:
    """The message for an error of mcsim itself; the traceback goes to a file, for a report."""
    import tempfile
    import traceback

    from mcsim.files import printable

    trace = printable("".join(traceback.format_exception(error)))
    words = printable(traceback.format_exception_only(error)[0].partition("\n")[0])[:400]
    what = "mcsim: not enough memory" if isinstance(error, MemoryError) else "mcsim: an error that nobody foresaw"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="mcsim-error-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(printable(f"{sys.argv}\n{sys.version}\n") + trace)
        where = f"its traceback is in {file.name}"
    except OSError:
        where = "its traceback is lost, as no folder for temporary files can be written"
    return f"{what}: {words}\n  please report it with the command and the experiment; {where}"


def _say(text: str) -> None:
    with suppress(OSError):  # nobody listens any more: the exit code still tells
        click.echo(text, err=True)


def _prepare_streams() -> None:
    """Let no stream end a command: a closed one takes words all the same, one that is not UTF-8 shows `\\u3042`."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - open to the end
        if hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(errors="backslashreplace")


def _leave_streams() -> None:
    """Python writes what is left in its buffers when it ends; what nobody takes is let go without a word."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _listen_to_signals() -> None:
    """Let the signals that end a process end it as Ctrl-C does, unless they are ignored (nohup)."""
    from mcsim.errors import TerminatedError

    def terminate(number: int, frame: FrameType | None) -> None:
        raise TerminatedError(number)

    if threading.current_thread() is not threading.main_thread():
        return
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # there is no SIGHUP on Windows
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, terminate)
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    threading.Thread(target=_end_in_time, args=(heard,), daemon=True).start()


def _end_in_time(heard: int) -> None:
    """End the process if a signal has not ended it for a while: Python's main thread hears none inside a kernel.

    heard: a pipe on which the number of each signal comes as a byte.
    """
    while (number := os.read(heard, 1)[0]) not in ENDING:
        pass
    time.sleep(SECONDS_TO_END)
    _say(f"mcsim: has not ended in {SECONDS_TO_END} s, and is ended")
    os._exit(EXIT_SIGNAL + number)
