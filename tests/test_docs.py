"""The site that `make docs` makes: nothing is missing in it, and what it shows is what commands printed."""

import ast
import re
import subprocess
import sys
from importlib.util import find_spec

import click
import pytest
from conftest import HANGS, ROOT

from mcsim.cli import cli

DOCS = ROOT / "docs"

pytestmark = pytest.mark.skipif(find_spec("sphinx") is None, reason="Sphinx comes with `make docs`")


def sphinx(source, target, *options):
    words = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", *options, str(source), str(target)]
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=HANGS)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    made = sphinx(DOCS, folder, "-D", "run_commands=0")
    assert made.returncode == 0, made.stderr
    return folder


def test_every_page_is_in_it(site):
    pages = [path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")]
    assert len(pages) > 15
    assert [page for page in pages if not (site / page).exists()] == []


def commands(group, *names):
    for name, command in group.commands.items():
        yield (*names, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)


def test_every_command_and_every_option_is_described(site):
    page = (site / "cli.html").read_text(encoding="utf-8")
    assert ("check", "speed") in dict(commands(cli))
    for names, command in commands(cli):
        name = "-".join(("mcsim", *names))
        assert f'id="{name}"' in page
        for option in (each for each in command.params if each.param_type_name == "option"):
            ids = [f'id="cmdoption-{name}-{word.lstrip("-")}"' for word in (option.opts[-1], option.opts[0])]
            assert any(each in page for each in ids), (name, option.opts)


def test_examples_of_commands_can_be_pasted(site):
    page = re.sub(r"<[^>]+>", "", (site / "cli.html").read_text(encoding="utf-8"))
    assert "\nmcsim check allocators golden/*.jsonl.gz" in page
    assert "mcsim run mail-2022 --half-width 0.01 --boots 20000\n" in page


def test_every_kernel_file_and_its_public_functions_are_described(site):
    page = re.sub(r"<[^>]+>", "", (site / "kernels.html").read_text(encoding="utf-8"))
    for path in (ROOT / "kernels").glob("*/[a-z]*.py"):
        assert f"kernels/{path.parent.name}/{path.name}" in page
        for item in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
                assert f"{item.name}(" in page


def test_no_page_links_to_a_page_that_is_not_there(site):
    links = [
        (page.name, link)
        for page in site.rglob("*.html")
        for link in re.findall(r'href="([^":#?]+\.html)', page.read_text(encoding="utf-8"))
    ]
    assert len(links) > 100
    assert [each for each in links if not any((page.parent / each[1]).exists() for page in site.rglob(each[0]))] == []


class TestShown:
    @pytest.fixture
    def page(self, tmp_path):
        """Builds a site of one page; returns its exit code, its text without tags, and what was said."""

        def build(text, *options):
            source = tmp_path / "source"
            source.mkdir()
            conf = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nextensions = ['myst_parser', 'docs.sphinx_shown']\n"
            (source / "conf.py").write_text(conf)
            (source / "index.md").write_text(f"# Page\n\n{text}\n")
            made = sphinx(source, tmp_path / "site", *options)
            html = tmp_path / "site" / "index.html"
            plain = re.sub(r"<[^>]+>", "", html.read_text(encoding="utf-8")) if html.exists() else ""
            return made.returncode, plain, made.stderr

        return build

    def test_commands_find_the_files_of_the_page_and_print_into_it(self, page):
        text = (
            "```{written} a.toml\nx = 1\n```\n\n```{shown}\nsed s/1/2/ a.toml\necho $((40 + 2)) columns $COLUMNS\n```"
        )
        code, plain, _ = page(text)
        assert code == 0
        assert "x = 1" in plain
        assert "x = 2\n42 columns 72" in plain

    def test_a_command_that_fails_ends_the_build_and_says_what_it_printed(self, page):
        code, _, said = page("```{shown}\necho oh no; false\n```")
        assert code != 0
        assert "ended with 1" in said
        assert "oh no" in said

    def test_a_failure_that_the_page_expects_is_none(self, page):
        assert page("```{shown}\n:exit: 3\nexit 3\n```")[0] == 0

    def test_a_command_that_should_fail_and_does_not_ends_the_build(self, page):
        assert page("```{shown}\n:exit: 3\ntrue\n```")[0] != 0

    def test_a_claim_that_holds_leaves_nothing_on_the_page(self, page):
        code, plain, _ = page("```{checked}\nassert 1 + 1 == 2\n```")
        assert code == 0
        assert "assert" not in plain

    def test_a_claim_that_does_not_hold_ends_the_build(self, page):
        code, _, said = page("```{checked}\nassert 1 + 1 == 3\n```")
        assert code != 0
        assert "AssertionError" in said

    def test_what_is_cut_is_said(self, page):
        code, plain, _ = page("```{shown}\n:lines: 2\nseq 10 19\n```")
        assert code == 0
        assert "10\n11\n[... 8 more lines]" in plain

    def test_a_picture_must_have_been_drawn(self, page):
        code, _, said = page("```{picture} map.svg\n:alt: Map\n```")
        assert code != 0
        assert "no command has drawn map.svg" in said

    def test_nothing_runs_if_told_so(self, page):
        code, plain, _ = page("```{shown}\necho $((40 + 2))\n```", "-D", "run_commands=0")
        assert code == 0
        assert "40 + 2" in plain
        assert "42" not in plain
