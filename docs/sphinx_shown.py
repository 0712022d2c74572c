"""Sphinx directives for pages that show what commands print and draw: they run when the page is made.

    ```{written} my-fix.toml
    (a file of the page's folder, shown as it is)
    ```

    ```{shown}
    :exit: 3
    :lines: 20
    mcsim min-ram my-fix.toml --variant my-fix --p 0.01
    ```

    ```{checked}
    import mcsim
    assert mcsim.load("results/mail-2022").summary()["failures"].sum() > 0
    ```

    ```{picture} boot/map.svg
    :alt: Map of memory
    ```

Each page has a temporary folder of its own, in which `boots` is the folder of test recordings. What ends the build: a
command with another exit code than 0 (or `exit`); an assertion that fails (`checked` leaves nothing on the page, it
keeps the words of the page true); a picture that no command has drawn. `-D run_commands=0` runs nothing and shows the
commands alone.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

RECORDINGS = Path(__file__).resolve().parents[1] / "tests" / "data" / "recordings"
LONGEST = 300  # seconds that a command may take


class FromCommands(SphinxDirective):
    """What the directives have in common: the page's folder."""

    has_content = True
    final_argument_whitespace = False

    def folder(self) -> Path:
        """The page's folder, made by its first directive."""
        folder = Path(self.env.app.shown_folder) / self.env.docname  # type: ignore[attr-defined]
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / "boots").symlink_to(RECORDINGS)
        return folder

    def runs(self) -> bool:
        """Whether commands are run at all."""
        return bool(self.config.run_commands)

    def block(self, text: str, language: str, style: str) -> nodes.literal_block:
        """Text as it stands."""
        block = nodes.literal_block(text, text, language=language, classes=[style])
        self.set_source_info(block)
        return block


class Shown(FromCommands):
    """Commands, one a line, each followed by what it prints on stdout."""

    option_spec: ClassVar[dict[str, Any]] = {"exit": directives.nonnegative_int, "lines": directives.positive_int}

    def run(self) -> list[nodes.Node]:
        """One block for the commands, one for the output."""
        commands = [line for line in self.content if line.strip()]
        blocks: list[nodes.Node] = [self.block("\n".join(commands), "shell", "command")]
        if not self.runs():
            return blocks
        printed = "\n".join(filter(None, map(self.output, commands)))
        lines = printed.splitlines()
        shown = self.options.get("lines", len(lines))
        if len(lines) > shown:
            lines[shown:] = [f"[... {len(lines) - shown} more lines]"]
        if lines:
            blocks.append(self.block("\n".join(lines), "text", "output"))
        return blocks

    def output(self, command: str) -> str:
        """What a command prints, as wide as a mail; progress (stderr) only if it fails."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = os.environ | {"PATH": path, "COLUMNS": "72", "NO_COLOR": "1", "LANG": "C.UTF-8"}
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder(),
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
        if done.returncode != self.options.get("exit", 0):
            raise ExtensionError(
                f"{self.get_location()}: {command!r} ended with {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout.rstrip()


class Checked(Shown):
    """Python that asserts what the words of the page say about the output above; it leaves nothing on the page."""

    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """Run it."""
        if self.runs():
            self.output(f"python -c {shlex.quote(chr(10).join(self.content))}")
        return []


class Written(FromCommands):
    """A file that the commands of the page find in their folder, and its text."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """Write it and show it."""
        text = "\n".join(self.content)
        name = self.arguments[0]
        path = self.folder() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
        block = self.block(text, path.suffix[1:].replace("txt", "text"), "file")
        caption = nodes.caption("", "", nodes.literal(name, name))
        return [nodes.container("", caption, block, literal_block=True, classes=["literal-block-wrapper"])]


class Picture(FromCommands):
    """A picture that a command of the page has drawn."""

    has_content = False
    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"alt": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """The picture, or nothing where no commands run."""
        if not self.runs():
            return []
        path = self.folder() / self.arguments[0]
        if not path.exists():
            raise ExtensionError(f"{self.get_location()}: no command has drawn {self.arguments[0]}")
        image = nodes.image(uri=os.path.relpath(path, self.env.srcdir / Path(self.env.docname).parent))
        image["alt"] = self.options["alt"]
        image["width"] = "100%"  # and a link to the picture in its own size
        self.set_source_info(image)
        return [image]


def make_folder(app: Sphinx) -> None:
    """A folder for the whole build."""
    app.shown_folder = tempfile.mkdtemp(prefix="mcsim-docs-")  # type: ignore[attr-defined]


def remove_folder(app: Sphinx, _: Exception | None) -> None:
    """Remove it, also when the build failed."""
    shutil.rmtree(app.shown_folder, ignore_errors=True)  # type: ignore[attr-defined]


def setup(app: Sphinx) -> dict[str, bool]:
    """For Sphinx. Pages are read one after another: commands use all processors themselves."""
    app.add_config_value("run_commands", True, "env", bool)
    app.add_directive("shown", Shown)
    app.add_directive("checked", Checked)
    app.add_directive("written", Written)
    app.add_directive("picture", Picture)
    app.connect("builder-inited", make_folder)
    app.connect("build-finished", remove_folder)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
