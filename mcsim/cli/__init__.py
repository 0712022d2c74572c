"""The `mcsim` command. Commands import what they need when they run, so that `mcsim --help` is quick."""

import sys
from collections.abc import Sequence

import click

from mcsim.cli.bench_command import bench
from mcsim.cli.blame_command import blame
from mcsim.cli.compare_command import compare
from mcsim.cli.conform_command import conform
from mcsim.cli.explain_command import explain
from mcsim.cli.import_command import import_command
from mcsim.cli.list_command import list_command
from mcsim.cli.merge_command import merge
from mcsim.cli.min_ram_command import min_ram
from mcsim.cli.new_command import new, schema
from mcsim.cli.plan_command import plan
from mcsim.cli.rare_command import rare
from mcsim.cli.replay_command import replay
from mcsim.cli.report_command import report
from mcsim.cli.run_command import run
from mcsim.cli.selftest_command import selftest
from mcsim.cli.sensitivity_command import sensitivity
from mcsim.cli.validate_command import validate
from mcsim.cli.verify_command import verify

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


@click.group(
    name="mcsim",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Bad input ends with exit code 2 and one message; Ctrl-C with 130, and what is done is kept.",
)
@click.version_option(package_name="mcsim", message="%(prog)s %(version)s")
def cli() -> None:
    """How likely is this boot to run out of contiguous memory, under which patch, how sure are we?

    \b
    Try:
      mcsim run mail-2022 --boots 200        a quick look at the shipped experiment
      mcsim run mail-2022                    all of its boots; the same command again continues
      mcsim report results/mail-2022         table and plots of what is there
      mcsim compare RESULT --baseline V      which variants differ from V, which are equivalent
      mcsim explain EXP --variant V --ram R  why one boot failed: report, map, timeline
      mcsim blame EXP --variant V --ram R    whose pages break the blocks, over many boots
      mcsim plan --p1 0.3 --p2 0.2 --paired  how many boots that takes
      mcsim min-ram EXP --variant V --p .001 which RAM sizes have P(OOM) <= 0.001
      mcsim sensitivity EXP --variant V ...  what moves P(OOM) most
      mcsim rare EXP --variant V --ram R     P(OOM) where plain boots never fail
      mcsim validate                         predictions beside failure counts of real boots
      mcsim merge A B -o C                   one result out of parts, or of runs on many machines
      mcsim verify results/mail-2022         stored boots once more, bit for bit
      mcsim new my-board                     an experiment of your own, to be edited
      mcsim list                             experiments, variants and workloads that come along
      mcsim conform golden/*.jsonl.gz        our allocators against vectors of the real kernel code
      mcsim replay boots/*.npz               our allocators against recordings of real boots
      mcsim bench                            how fast they are, beside the same in C
    """


cli.add_command(run)
cli.add_command(report)
cli.add_command(compare)
cli.add_command(explain)
cli.add_command(blame)
cli.add_command(plan)
cli.add_command(min_ram)
cli.add_command(sensitivity)
cli.add_command(rare)
cli.add_command(validate)
cli.add_command(merge)
cli.add_command(verify)
cli.add_command(new)
cli.add_command(schema)
cli.add_command(list_command)
cli.add_command(import_command)
cli.add_command(conform)
cli.add_command(replay)
cli.add_command(selftest)
cli.add_command(bench)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0 done, 1 something that was checked differs, 2 bad input, 130 interrupted."""
    sys.exit(run_cli(arguments))


def run_cli(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code: 0, or what a command has given to `click.Context.exit`."""
    from mcsim.errors import UserError

    code = 0
    try:
        words = None if arguments is None else list(arguments)
        code = cli.main(args=words, prog_name="mcsim", standalone_mode=False) or 0
    except UserError as error:
        click.echo(f"mcsim: {error}", err=True)
        return EXIT_USER_ERROR
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return EXIT_USER_ERROR
    except click.ClickException as error:
        error.show()
        return EXIT_USER_ERROR
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    return code
