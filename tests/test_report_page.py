"""The report as a page: its structure, and how it looks and behaves in a browser, which starts once for all tests."""

import base64
import json
import re
import time
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from browser import Browser
from PIL import Image
from report_project import SCRIPT, make_project
from screenshots import SIZES, draw, wait_until_drawn

from contrastbench.params.root import from_content
from contrastbench.pipeline.grid import TARGETS
from contrastbench.reporting.contents import Contents
from contrastbench.reporting.looks import DASHES, PALETTE, looks
from contrastbench.reporting.pictures import DRAWN_OF, PICTURES, stale_pictures, state
from contrastbench.reporting.rendered import target_files, track_files
from contrastbench.reporting.report import build_report
from contrastbench.reporting.summary import measured_on
from contrastbench.results.load import rows_in

STEPS = {"prepare": [], "pretrain-unremix": ["prepare"], "probe-unremix": ["prepare", "pretrain-unremix"]}
A4 = 703  # CSS pixels between the margins of the page


class Elements(HTMLParser):
    """Every element's start: its name, attributes and whether a scroll box is around it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict, bool]] = []
        self._boxes: list[bool] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        given = dict(attributes)
        self.found.append((tag, given, any(self._boxes)))
        if tag == "div":
            self._boxes.append(given.get("class") == "wide")

    def handle_endtag(self, tag: str) -> None:
        if tag == "div":
            self._boxes.pop()

    def of(self, name: str) -> list[dict]:
        return [given for tag, given, _ in self.found if tag == name]


@pytest.fixture(scope="module")
def project(tmp_path_factory, repository) -> Path:
    root = make_project(tmp_path_factory.mktemp("project"))
    for track in ("unremix", "swaro"):
        (root / f"results/tables/default/{track}.csv").parent.mkdir(parents=True, exist_ok=True)
        (root / f"results/tables/default/{track}.csv").write_text("a table\n")
    return root


@pytest.fixture(scope="module")
def page(project) -> str:
    return build_report(rows_in(project), "default", STEPS, project)


@pytest.fixture(scope="module")
def elements(page) -> Elements:
    return Elements(page)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def opened(browser, page, tmp_path_factory) -> Browser:
    """The page, opened offline and drawn."""
    file = tmp_path_factory.mktemp("opened") / "report.html"
    file.write_text(page)
    browser.devtools("Network.enable")
    browser.devtools(
        "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
    )
    browser.size(1440, 1000)
    browser.open(file)
    assert wait_until_drawn(browser) == page.count('class="plot"') > 10
    return browser


@pytest.fixture
def seen(opened):
    """The page at 1440 pixels, in light colours; nothing that a test does to it is told on the console."""
    in_colours(opened, "light")
    opened.size(1440, 1000)
    settle(opened, LIGHT)
    opened.run("scrollTo(0, 0)")
    yield opened
    assert opened.messages() == []


def in_colours(browser: Browser, scheme: str, media: str = "") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.devtools("Emulation.setEmulatedMedia", media=media, features=features)


def settle(browser: Browser, colour: str) -> None:
    """Wait until every figure has the width of its box and the colours of the page."""
    settled = (
        "return [...document.querySelectorAll('.plot')].every((plot) => plot.layout.font.color === '%s'"
        " && Math.abs(plot._fullLayout.width - plot.clientWidth) < 2)"
    )
    for _ in range(200):
        if browser.run(settled % colour):
            return
        time.sleep(0.1)
    raise AssertionError("the figures did not follow")


LIGHT, DARK = "#1a1d21", "#e6e8eb"


def test_anchors_resolve_and_are_one_of_a_kind(elements):
    ids = Counter(given["id"] for _, given, _ in elements.found if "id" in given)
    assert set(ids.values()) == {1}
    aims = [given["href"] for given in elements.of("a") if not given["href"].startswith("data:")]
    assert len(aims) > 40 and all(aim.startswith("#") and aim[1:] in ids for aim in aims)


def test_the_contents_list_every_heading(page):
    listed = re.search(r"<nav.*?</nav>", page, re.DOTALL)[0]
    headings = re.findall(r'<h[234] id="([^"]+)">(.*?)</h[234]>', page)
    assert re.findall(r'<a href="#([^"]+)">(.*?)</a>', listed) == headings
    assert len(re.findall(r"<h[234]", page)) == len(headings) > 40


def test_names_of_headings_that_collide_get_numbers():
    contents = Contents()
    assert [contents.add(1, "Contents"), contents.add(1, "A/B"), contents.add(2, "?"), contents.add(2, "!")] == [
        "contents-2",
        "a-b",
        "a-b-part",
        "a-b-part-2",
    ]
    assert [each.title for each in contents.top[1].below] == ["?", "!"]


def test_every_table_is_in_a_box_that_the_keyboard_reaches_and_a_reader_names(elements):
    assert all(boxed for tag, _, boxed in elements.found if tag == "table")
    boxes = [given for given in elements.of("div") if given.get("class") == "wide"]
    assert len(boxes) > 20
    assert all(given["tabindex"] == "0" and given["role"] == "region" and given["aria-label"] for given in boxes)


def test_downloads_say_what_the_tables_on_disk_say(project, elements, page):
    given = {each["download"]: each["href"] for each in elements.of("a") if "download" in each}
    wanted = {}
    for track in ("unremix", "swaro", "uamix"):
        for target in TARGETS:
            of = track_files if target == "methods" else target_files
            files = of(rows_in(project), "default", track, *([] if target == "methods" else [target]), project)
            wanted |= {Path(path).name: text for path, text in files.items() if path.endswith(".csv")}
    assert len(wanted) == 4 and {name: decoded(address) for name, address in given.items()} == wanted
    assert sum(map(len, given.values())) < 1.25 * sum(map(len, wanted.values())), "not larger than they must be"


def test_the_parameters_can_be_downloaded(repository, tmp_path):
    """Where there are any; they are those of the preset, and can be read again."""
    from reporting_rows import asked, row, write

    from contrastbench.params.root import load

    (tmp_path / "params.yaml").write_bytes((repository / "params.yaml").read_bytes())
    write(tmp_path, asked([row()]))
    found = Elements(build_report(rows_in(tmp_path), "default", {}, tmp_path)).of("a")
    (address,) = [each["href"] for each in found if each.get("download") == "params-default.json"]
    assert from_content(json.loads(decoded(address)), "download") == load("default", tmp_path)


def decoded(address: str) -> str:
    head, _, text = address.partition(",")
    assert head.endswith(";charset=utf-8") and not set(text) & set('#"<> \n'), "which would end or change the address"
    return unquote(text)


def test_what_users_name_is_text(page):
    """A class called <script>, in JSON, in the key and in what plotly reads."""
    assert page.count("<script") == page.count("</script>") and SCRIPT not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;</button>" in page
    assert '"name":"&lt;script' in page, "plotly would take the tag out of the name"


def test_the_summary_says_what_ran(page):
    summary = page[page.index('id="summary"') : page.index('id="unremix"')]
    text = " ".join(re.sub(r"<[^>]*>", "", summary).split())
    assert "4 methods: random, simclr, hcl, unremix; 3 variants. On mnist5k, 3 seeds, 63 rows." in text
    assert "Failed sanity checks: 1" in text and "on cpu" in text
    assert "0.3 minutes of all jobs together" in text, "20 s, as measured by Snakemake"
    assert summary.count("<table") == 3, "no claims, so the first table of each track"


def test_the_page_does_not_change_from_run_to_run(project, page):
    assert build_report(rows_in(project), "default", STEPS, project) == page


def test_the_date_is_that_of_the_newest_rows(tmp_path):
    import os
    import subprocess

    folder = tmp_path / "results/rows/default/probe"
    folder.mkdir(parents=True)
    for name, second in (("a", 0), ("b", 86400 * 3)):
        (folder / name).write_text("x")
        os.utime(folder / name, (second, second))
    assert measured_on("default", tmp_path) == "1970-01-04", "outside git, of the files"
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=main", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    assert measured_on("default", tmp_path) == "1970-01-04", "in no commit yet"
    subprocess.run([*git, "add", "-A"], check=True)
    when = {"GIT_COMMITTER_DATE": "2020-02-03T12:00:00Z", "GIT_AUTHOR_DATE": "2019-01-01T12:00:00Z"}
    subprocess.run([*git, "commit", "-qm", "rows"], check=True, env=os.environ | when)
    assert measured_on("default", tmp_path) == "2020-02-03", "of the commit, whatever date a checkout gives the files"
    (folder / "b").write_text("changed")
    os.utime(folder / "b", (86400 * 20000, 86400 * 20000))
    assert measured_on("default", tmp_path) == "2024-10-04", "a changed file is newer"


def test_lines_differ_by_colour_and_dash():
    shown = looks([f"unremix-variant-{number}" for number in range(30)] + ["simclr", "unremix", "swaro"])
    both = [(look.colour, look.dash) for look in shown.values()]
    assert len(set(both)) == 33, "also variants of one method, which a figure may have many of"
    few = looks(["random", "mae", "mae-joint", "uamix-mae", "simclr", "swaro", "unremix-a", "unremix-b"])
    assert len({look.colour for look in few.values()}) == 8, "no colour twice while there are others"
    assert len({look.dash for look in few.values()}) > 3 and len(set(both)) < len(DASHES) * len(set(PALETTE))
    assert looks(["simclr"])["simclr"] == looks(["random", "simclr", "hcl"])["simclr"], "the same in all figures"


def test_sorting_restores_the_order_on_the_third_click(seen):
    column = "return [...document.querySelectorAll('table')[0].tBodies[0].rows].map(r => r.cells[{}].dataset.value)"
    click = "document.querySelectorAll('table')[0].tHead.rows[0].cells[{}].firstElementChild.click()"
    order = "return document.querySelectorAll('table')[0].tHead.rows[0].cells[{}].ariaSort"
    given = seen.run(column.format(1))
    seen.run(click.format(1))
    values = [float(value) for value in seen.run(column.format(1))]
    assert values == sorted(values, reverse=True) and len(set(values)) == len(values)
    seen.run(click.format(1))
    assert [float(value) for value in seen.run(column.format(1))] == sorted(values)
    assert seen.run(order.format(1)) == "ascending" and given not in (values, sorted(values))
    seen.run(click.format(1))
    assert seen.run(column.format(1)) == given and seen.run(order.format(1)) == "none"
    seen.run(click.format(0))
    seen.run(click.format(0))
    assert seen.run(column.format(1)) == given[::-1], "the first column: its order, upside down"


def test_on_a_wide_screen_contents_stay_beside_the_page(seen):
    assert seen.run("return document.documentElement.scrollWidth") <= 1440
    beside = seen.run("return [document.querySelector('nav').getBoundingClientRect().right, left()]" + LEFT)
    assert beside[0] <= beside[1] and seen.run("return document.getElementById('contents').open")
    seen.run("scrollTo(0, 3000)")
    assert seen.run("return document.querySelector('nav').getBoundingClientRect().top") == 0
    drawing = seen.run("return document.querySelector('svg.dag').getBoundingClientRect().toJSON()")
    assert drawing["right"] <= 1440 and drawing["width"] > 700


LEFT = "; function left() { return document.querySelector('main').getBoundingClientRect().left; }"
CURVES = """const all = [...document.querySelectorAll('.plot')].filter((plot) => plot.data[0].type === 'scatter');
  const tall = (layout) => Object.keys(layout).filter((key) => key.startsWith('yaxis'))
    .map((key) => layout._size.h * (layout[key].domain[1] - layout[key].domain[0]));
  return all.map((plot) => [Math.min(...tall(plot._fullLayout)), plot.getBoundingClientRect().bottom,
    plot.closest('.chart').querySelector('.key').getBoundingClientRect().top, plot._fullLayout.showlegend]);"""


def test_curves_are_tall_and_their_key_is_outside_and_hides_lines(seen):
    found = seen.run(CURVES)
    assert len(found) > 8
    for height, bottom, key, inside in found:
        assert height >= 300 and key >= bottom and not inside
    hidden = """const button = document.querySelector('.key button');
      button.click();
      const traces = button.closest('.chart').querySelector('.plot').data;
      const names = traces.filter((trace) => trace.visible === false).map((trace) => trace.name);
      return [button.ariaPressed, names, button.dataset.name, traces.length];"""
    pressed, names, name, traces = seen.run(hidden)
    assert pressed == "false" and set(names) == {name} and len(names) < traces


def test_on_a_phone_nothing_overflows_and_numbers_have_room(seen):
    seen.size(390, 844)
    in_colours(seen, "dark")
    settle(seen, DARK)
    assert seen.run("return document.documentElement.scrollWidth") <= 390
    assert not seen.run("return document.getElementById('contents').open")
    firsts = seen.run(
        "return [...document.querySelectorAll('.wide')].filter((box) => box.offsetParent && box.querySelector('th'))"
        ".map((box) => [box.querySelector('tbody th').getBoundingClientRect().width, box.clientWidth])"
    )
    assert len(firsts) > 10 and all(first < 0.45 * box for first, box in firsts)
    cue = seen.run(
        "const box = [...document.querySelectorAll('.wide')].find((each) => each.scrollWidth > each.clientWidth);"
        "return [getComputedStyle(box).backgroundAttachment, getComputedStyle(box).overflowX]"
    )
    assert cue == ["local, local, scroll, scroll", "auto"], "a shadow where there is more"


def test_in_print_nothing_is_cut(seen):
    in_colours(seen, "dark")
    settle(seen, DARK)
    seen.run("dispatchEvent(new Event('beforeprint'))")
    assert seen.run("return document.querySelectorAll('main details:not([open], .pairs)').length") == 0
    settle(seen, LIGHT)
    seen.size(A4, 1000)
    settle(seen, LIGHT)
    in_colours(seen, "dark", "print")
    seen.run("for (const each of document.querySelectorAll('details')) { each.open = true; }")
    outside = (
        "return [...document.querySelectorAll('main *')].filter((each) => !each.parentElement.closest('svg')"
        " && each.getBoundingClientRect().right > innerWidth + 1).map((each) => each.outerHTML.slice(0, 80))"
    )
    assert seen.run(outside) == []
    assert seen.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    tops = "return [...document.querySelectorAll('.chart')].slice(0, 2).map((each) => each.getBoundingClientRect().top)"
    assert len(set(seen.run(tops))) == 1, "two figures side by side"
    printed = seen.devtools("Page.printToPDF", preferCSSPageSize=True)["data"]
    assert base64.b64decode(printed).startswith(b"%PDF")
    seen.run("dispatchEvent(new Event('afterprint'))")
    settle(seen, DARK)


def test_the_projects_own_report_fits_a_phone(repository, browser):
    file = repository / "results/report.html"
    if not file.is_file():
        pytest.skip("no results/report.html; `snakemake --cores all` writes it")
    browser.size(390, 844)
    browser.open(file)
    wait_until_drawn(browser)
    assert browser.run("return document.documentElement.scrollWidth") <= 390
    assert browser.messages() == []


def test_pictures_know_what_they_show(seen, page, project, tmp_path):
    """One of another table, or of none that is told, is stale; so is one that cannot be read."""
    assert stale_pictures(project) == [], "no pictures, nothing to say"
    (tmp_path / "page.html").write_text(page)
    draw(seen, tmp_path / "page.html", project / "docs/images", state(project))
    for name in PICTURES:
        with Image.open(project / "docs/images" / name) as image:
            assert image.size == SIZES[name] and image.info[DRAWN_OF] == state(project)
            assert len(image.convert("L").getcolors()) > 20, "something is to be seen"
    assert stale_pictures(project) == []
    (project / "results/tables/default/unremix.csv").write_text("another table\n")
    (project / "docs/images" / PICTURES[1]).write_bytes(b"no picture")
    told = stale_pictures(project)
    assert [line.partition(":")[0] for line in told] == [f"docs/images/{name}" for name in PICTURES]
    assert all("run `make screenshots`" in line for line in told)


def test_make_draws_the_pictures(repository):
    assert "\nscreenshots: install\n\tpython tests/screenshots.py\n" in (repository / "Makefile").read_text()
    assert (repository / "tests/screenshots.py").is_file()
