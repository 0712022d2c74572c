"""README and pages: they lead to what there is, and name the commands and options that there are."""

import re
from collections.abc import Iterator
from pathlib import Path

import click

from mcsim.cli import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [README, *(path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md"))]


def commands(group: click.Group, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*names, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)


def test_the_readme_leads_a_stranger_in_100_lines() -> None:
    assert len(README.splitlines()) <= 100


def test_the_readme_links_to_files_that_are_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 15
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_pages_name_only_commands_and_options_that_there_are() -> None:
    known = dict(commands(cli))
    checked = 0
    for page in PAGES:
        fenced = "\n".join(re.findall(r"^```.*?^```", page, re.MULTILINE | re.DOTALL))
        for line in [
            *re.findall(r"(?:^ {4}|`|&& )mcsim ([^`\n#|;&>]+)", page, re.MULTILINE),
            *re.findall(r"^mcsim ([^`\n#|;&>:]+)$", fenced, re.MULTILINE),
        ]:
            words = line.split()
            if words[0].isupper() or words[0].startswith("--"):
                continue
            names = tuple(words[:2]) if words[0] == "check" and len(words) > 1 else (words[0],)
            assert names in known, line
            options = {name for each in known[names].params for name in each.opts} | {"--help"}
            for word in (each.partition("=")[0] for each in words if re.match(r"--[a-z]", each)):
                assert word in options, line
            checked += 1
    assert checked > 60
