"""The HTML report in a real browser, headless: it is legible, it can be sorted, and nothing in it runs or is cut off.

Needs Chromium and its driver (Debian: chromium, chromium-driver); without them these tests are skipped.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stand_in

import mcsim
from mcsim.model import experiment
from mcsim.report import write
from mcsim.studies.findings import findings

WIDTHS = (1280, 400)
THEMES = ("light", "dark")
EVIL = "<script>alert(1)</script>\"'&amp;<img src=x onerror=alert(2)>"
EXPERIMENT = """
[experiment]
name = "seen"
variants = ["maple-naive", "tail-free", "prealloc-early", "mail-both", "my-fix"]
ram = ["28M..40M step 1M", "48M", "64M", "128M"]
boots = 60
seed = 3
[workload]
recordings = "C"
[variants.my-fix]
based_on = "tail-free"
trim_pages = 0
"""


def _browser() -> tuple[str, str]:
    """Chromium and its driver, or skip."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("needs chromium and chromedriver")
    return browser, driver


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    browser, driver = _browser()
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    # No sandbox: in a container there is none to be had. The page is our own.
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "hide-scrollbars"):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report whose title, variant and file hold hostile text."""
    _browser()
    folder = tmp_path_factory.mktemp("seen")
    with pytest.MonkeyPatch.context() as monkeypatch:
        stand_in.use_stand_in(monkeypatch, folder)
        result = mcsim.run(experiment.parse(EXPERIMENT, "seen.toml"), workers=1, out=folder / "seen")
    return write.write_html(findings(stand_in.disguise(result, "my-fix", EVIL)))


def look(chromium: Any, page: Path, width: int = 1280, theme: str = "light") -> None:
    features = [{"name": "prefers-color-scheme", "value": theme}]
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    chromium.get(page.as_uri())


def test_nothing_is_written_to_the_console_and_nothing_hostile_runs(chromium: Any, page: Path) -> None:
    look(chromium, page)
    assert chromium.get_log("browser") == []
    assert chromium.execute_script("return document.images.length") == 0
    chromium.execute_script("console.error('heard')")  # so that silence means something
    assert len(chromium.get_log("browser")) == 1


def test_hostile_text_is_shown_as_it_is(chromium: Any, page: Path) -> None:
    look(chromium, page)
    assert chromium.title == f"Title {EVIL}"
    assert chromium.find_element("tag name", "h1").text == f"Title {EVIL}"
    chromium.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    shown = chromium.find_element("tag name", "main").text
    for words in (f"{EVIL}: Words {EVIL}", f"# File {EVIL}", f" = {EVIL}"):
        assert words in shown
    heads = chromium.execute_script("return [...document.querySelectorAll('tbody th')].map(each => each.textContent)")
    assert EVIL in heads


COLUMN = """
const [heading, column] = arguments;
const body = heading.closest("table").tBodies[0];
return [...body.rows].map(row => row.cells[column].textContent);
"""


def _headings(chromium: Any, section: str) -> list[Any]:
    table = chromium.find_elements("css selector", f"#{section} table")[-1]
    return list(table.find_elements("css selector", "thead th"))


def _numbers(column: list[str]) -> list[float]:
    return [float(text.strip("<>").replace(",", "")) for text in column]


def test_a_click_sorts_and_a_second_one_the_other_way(chromium: Any, page: Path) -> None:
    look(chromium, page)
    headings = _headings(chromium, "cells")
    names = [each.text.split(" ")[0] for each in headings]
    failed = names.index("failed")
    before = chromium.execute_script(COLUMN, headings[failed], failed)
    button = headings[failed].find_element("tag name", "button")
    button.click()
    up = chromium.execute_script(COLUMN, headings[failed], failed)
    assert _numbers(up) == sorted(_numbers(before)) != _numbers(before)
    assert headings[failed].get_attribute("aria-sort") == "ascending"
    button.click()
    down = chromium.execute_script(COLUMN, headings[failed], failed)
    assert _numbers(down) == sorted(_numbers(before), reverse=True)
    assert headings[failed].get_attribute("aria-sort") == "descending"


def test_the_keyboard_reaches_a_heading_and_sorts(chromium: Any, page: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    look(chromium, page)
    headings = _headings(chromium, "cells")
    chromium.execute_script("arguments[0].focus()", headings[0].find_element("tag name", "button"))
    ActionChains(chromium).send_keys(Keys.TAB).perform()
    focused = chromium.switch_to.active_element
    assert focused.text == headings[1].text
    assert chromium.execute_script("return getComputedStyle(arguments[0]).outlineStyle", focused) == "solid"
    for key, order in ((Keys.ENTER, "ascending"), (Keys.SPACE, "descending")):
        ActionChains(chromium).send_keys(key).perform()
        assert headings[1].get_attribute("aria-sort") == order
        # RAM sizes as numbers: 128M is not before 28M.
        sizes = [int(text.rstrip("M")) for text in chromium.execute_script(COLUMN, headings[1], 1)]
        assert sizes == sorted(sizes, reverse=order == "descending")


def test_words_sort_as_words_and_other_tables_stay(chromium: Any, page: Path) -> None:
    look(chromium, page)
    there = _headings(chromium, "failures")[0]
    untouched = chromium.execute_script(COLUMN, there, 0)
    heading = _headings(chromium, "cells")[0]
    heading.find_element("tag name", "button").click()
    names = chromium.execute_script(COLUMN, heading, 0)
    assert [each for each in names if each != EVIL] == sorted(each for each in names if each != EVIL)
    assert chromium.execute_script(COLUMN, there, 0) == untouched


# Elements with text that stick out of the window (unless they are in a box that scrolls), or whose text sticks out.
CUT = """
const cut = [];
for (const each of document.querySelectorAll("h1, h2, h3, p, li, a, figcaption, summary, th, td, button")) {
  if (!each.checkVisibility() || !each.textContent.trim()) continue;
  const place = each.getBoundingClientRect();
  const outside = !each.closest(".box, pre") && (place.left < -0.5 || place.right > innerWidth + 0.5);
  if (outside || each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).display !== "inline")
    cut.push(each.tagName + ": " + each.textContent.trim().slice(0, 60));
}
return cut;
"""
# Pairs of labels of one picture whose boxes lie over each other, or that stick out of it.
OVERLAPS = """
const found = [];
for (const picture of document.querySelectorAll(".picture svg")) {
  if (!picture.checkVisibility()) continue;
  const frame = picture.getBoundingClientRect();
  const labels = [...picture.querySelectorAll("text")].filter(each => each.textContent !== "//")
    .map(each => [each.textContent, each.getBoundingClientRect()]);
  for (const [number, [text, place]] of labels.entries()) {
    const sides = [place.left - frame.left, frame.right - place.right];
    const room = [...sides, place.top - frame.top, frame.bottom - place.bottom];
    if (Math.min(...room) < -1)
      found.push(text + " sticks out");
    for (const [other, there] of labels.slice(number + 1)) {
      const wide = Math.min(place.right, there.right) - Math.max(place.left, there.left);
      const high = Math.min(place.bottom, there.bottom) - Math.max(place.top, there.top);
      if (wide > 1 && high > 1) found.push(text + " over " + other);
    }
  }
}
return found;
"""
SMALLEST = """
return Math.min(...[...document.querySelectorAll("main *")].filter(each => each.checkVisibility()
  && [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim()))
  .map(each => {
    const svg = each.closest("svg");
    const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
    return parseFloat(getComputedStyle(each).fontSize) * scale;
  }));
"""


@pytest.mark.parametrize("width", WIDTHS)
def test_text_is_whole_and_legible_and_the_page_does_not_scroll_sideways(width: int, chromium: Any, page: Path) -> None:
    look(chromium, page, width)
    assert chromium.execute_script("return document.documentElement.scrollWidth") == width
    assert chromium.execute_script(CUT) == []
    assert chromium.execute_script(OVERLAPS) == []
    assert chromium.execute_script(SMALLEST) >= 11.0  # pixels
    assert chromium.execute_script("return document.querySelectorAll('.picture svg text').length") > 50


@pytest.mark.parametrize("width", WIDTHS)
def test_a_wide_table_scrolls_in_its_own_box(width: int, chromium: Any, page: Path) -> None:
    look(chromium, page, width)
    box = chromium.find_elements("css selector", "#differences .box")[-1]
    scrolls = chromium.execute_script("return arguments[0].scrollWidth > arguments[0].clientWidth", box)
    assert scrolls == (width == 400)
    chromium.execute_script("arguments[0].scrollTo(300, 300)", box)
    left = "return arguments[0].getBoundingClientRect().left"
    name = box.find_element("css selector", "tbody th")
    assert abs(chromium.execute_script(left, name) - chromium.execute_script(left, box)) <= 2  # names stay in sight


@pytest.mark.parametrize("theme", THEMES)
def test_pictures_and_page_follow_the_theme(theme: str, chromium: Any, page: Path) -> None:
    look(chromium, page, theme=theme)
    colours = """
    const line = document.querySelector("#p-oom .wide svg path[style*='--series-1']");
    const word = document.querySelector("#p-oom .wide svg text");
    return [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,
            getComputedStyle(word).fill, getComputedStyle(line).stroke,
            getComputedStyle(document.querySelector(".heat td")).backgroundColor];
    """
    ground, ink, word, line, _ = (sum(_rgb(colour)) for colour in chromium.execute_script(colours))
    assert (ground > ink) == (theme == "light")
    assert word == ink
    assert abs(line - ground) > 150


def _rgb(colour: str) -> list[int]:
    return [int(float(part)) for part in colour.removeprefix("rgb(").rstrip(")").split(",")]


def test_without_a_script_it_can_be_read(chromium: Any, page: Path) -> None:
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        look(chromium, page)
        assert "Answer" in chromium.find_element("tag name", "main").text
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
