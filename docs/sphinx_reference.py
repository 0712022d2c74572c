"""References made of the source itself: the docstrings of kernels/, and the examples in the help texts of commands."""

import ast
import re
from pathlib import Path
from typing import Any

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

KERNELS = Path(__file__).resolve().parents[1] / "kernels"


class KernelModules(SphinxDirective):
    """Every file of kernels/: what it says of itself, and the first sentence of its public functions and records."""

    def run(self) -> list[nodes.Node]:
        """A section a file."""
        files = [path for path in sorted(KERNELS.glob("*/*.py")) if path.name != "__init__.py"]
        for path in files:
            self.env.note_dependency(path)
        return self.parse_text_to_nodes("\n\n".join(map(section, files)), allow_section_headings=True)


def section(path: Path) -> str:
    """A file in Markdown, which is also what its docstrings are written in."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    lines = [f"## kernels/{path.parent.name}/{path.name}", "", ast.get_docstring(module) or "", ""]
    for each in module.body:
        if isinstance(each, ast.FunctionDef | ast.ClassDef) and not each.name.startswith("_"):
            lines.append(f"- `{signature(each)}`: {first_sentence(ast.get_docstring(each) or '')}")
    return "\n".join(lines)


def signature(item: ast.FunctionDef | ast.ClassDef) -> str:
    """Name and arguments of a function, name of a record."""
    if isinstance(item, ast.ClassDef):
        return item.name
    return f"{item.name}({', '.join(each.arg for each in item.args.args)})"


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, on one line."""
    words = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s+(?=[A-Z`])", words)[0]


def examples_as_they_are(app: Sphinx, context: click.Context, lines: list[str]) -> None:
    """Lines that click does not wrap (examples) come with "| " and become code; other lines are plain words."""
    made: list[str] = []
    inside = False
    for line in lines:
        if not line.startswith("|"):
            inside = False
            made.append(re.sub(r"([*`|])", r"\\\1", line))
        elif not inside:
            inside = True
            title = line[1:].strip()
            made += ["", title + ":", ""] if title.endswith(":") else ["", "::", "", f"    {title}"]
        else:
            made.append(f"    {line[1:].rstrip()}")
    lines[:] = made


def setup(app: Sphinx) -> dict[str, Any]:
    """For Sphinx."""
    app.add_directive("kernel-modules", KernelModules)
    app.connect("sphinx-click-process-description", examples_as_they_are)
    app.connect("sphinx-click-process-epilog", examples_as_they_are)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
