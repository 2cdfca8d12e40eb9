"""The report in headless Chromium: nothing is loaded, nothing goes wrong, and buttons do what they say.

Chromium is driven by its command line. What a reader does is done by a script at the end of a copy of the page,
and what came of it is written into the copy, which ``--dump-dom`` prints.
"""

import html
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.chromium import DARK, FLAGS, LIGHT, installed
from support.recorded_runs import NASTY, judged, number, write_figure, write_run

from admmctl.report.page import report
from admmctl.report.verdict import Verdict
from admmctl.runs.places import find

pytestmark = pytest.mark.browser

# At the end of a copy of the page: errors are caught from the start on, the answer is what ``act`` returns.
CATCH = "<script>window.wrong = []; addEventListener('error', (event) => wrong.push(event.message));</script>"
ACT = """<script>
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const $ = (words) => document.querySelector(words);
const all = (words) => [...document.querySelectorAll(words)];
(async () => {
  let answer;
  try { answer = await (async () => { %s })(); } catch (error) { wrong.push(String(error)); }
  const out = document.createElement("output");
  out.id = "answer";
  out.textContent = JSON.stringify({answer, wrong});
  document.body.append(out);
})();
</script>"""


class Chromium:
    """Opens a page, or a copy of it in which a script acts."""

    def __init__(self, program: str, page: Path, folder: Path) -> None:
        self.program, self.page, self.folder = program, page, folder

    def __call__(self, page: Path, *flags: str) -> subprocess.CompletedProcess[str]:
        command = [self.program, *FLAGS, f"--user-data-dir={self.folder / 'profile'}", *flags, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)

    def do(self, act: str, *flags: str, size: str = "1280,900") -> Any:
        """What ``act``, the body of an asynchronous function, returns; nothing may go wrong on the way."""
        content = self.page.read_text(encoding="utf-8")
        content, found = re.subn('<meta http-equiv="Content-Security-Policy"[^>]*>', CATCH, content)
        assert found == 1  # the page's policy lets no script of ours in, which another test looks at
        copy = self.folder / "copy.html"
        copy.write_text(content.replace("</body>", ACT % act + "</body>"), encoding="utf-8")
        shown = self(copy, f"--window-size={size}", *flags, "--dump-dom").stdout
        written = re.search('<output id="answer">(.*?)</output>', shown)
        assert written, "the script came to no end"
        result = json.loads(html.unescape(written[1]))
        assert result["wrong"] == []
        return result["answer"]


CLAIMS = [
    judged("first", figure="one", text=NASTY, evidence="a number that goes on " * 8),
    judged("second", Verdict.FAILS, differs="a-word-that-is-long-and-wraps-nowhere" * 4),
    judged("third", Verdict.UNTOLD, rerun="admmctl claims " + "third" * 20 + " --run"),
    judged("fourth", Verdict.FAILS, paper="Zhang and others"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on made-up claims, figures and runs."""
    results = tmp_path_factory.mktemp("browser") / "results"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADMMCTL_RESULTS", str(results))
        for seed, seconds in enumerate((9.0, 100.0, 0.45, 0.06)):
            write_run(results, seed=seed, seconds=seconds)
            write_run(results, "sgd", seed=seed, accuracies=(0.5, 0.6 + seed / 100))
        write_run(results, "linear", experiment="other", status="failed", reason=NASTY, accuracies=())
        write_run(results, "a-method-with-quite-a-long-name-that-wraps-nowhere", experiment="x" * 80)
        numbers = [number("alike"), number("unlike", same_work=False, note="a note that goes on " * 8)]
        write_figure(results / "figures", "one", numbers=numbers, caption=NASTY)
        write_figure(results / "figures", "two", number="Figure 2")
        return Path(report(find(), chosen=False, claims=CLAIMS).report)


@pytest.fixture
def chromium(page: Path, tmp_path: Path) -> Chromium:
    return Chromium(installed(), page, tmp_path)


def test_nothing_is_loaded_and_nothing_is_complained_about(chromium: Chromium) -> None:
    content = chromium.page.read_text(encoding="utf-8")
    assert not re.findall(r"""<[^>]*\s(?:src|srcset|poster|data|action)\s*=\s*["'](?!data:)""", content)
    assert not re.findall(r"<link\b|@import|url\(", content)
    assert not re.findall(r"""\b(?:fetch|XMLHttpRequest|WebSocket|importScripts|sendBeacon)\b""", content)
    done = chromium(chromium.page, "--dump-dom")
    assert "CONSOLE" not in done.stderr  # errors, warnings, and what the page's policy refused
    assert 'id="theme"' in done.stdout  # the script did run
    loaded = chromium.do("return performance.getEntriesByType('resource').map((one) => one.name.slice(0, 5));")
    assert set(loaded) <= {"data:"}


def test_a_script_that_got_into_the_page_would_not_run(chromium: Chromium) -> None:
    content = chromium.page.read_text(encoding="utf-8")
    injected = chromium.folder / "injected.html"
    injected.write_text(content.replace("</main>", "<script>document.title = 'taken'</script></main>"))
    done = chromium(injected, "--dump-dom")
    assert "<title>taken</title>" not in done.stdout
    assert "Content Security Policy" in done.stderr


def test_headings_sort_by_number_and_say_so(chromium: Chromium) -> None:
    order = """
    const table = $("table.runs"), headings = [...table.tHead.rows[0].cells];
    const place = headings.findIndex((one) => one.textContent === "target s");
    const heading = headings[place], clicked = heading.querySelector("button");
    const column = () => [...table.tBodies[0].rows].map((row) => row.cells[place].textContent);
    const shown = () => [heading.ariaSort, ...column()];
    const before = shown();
    clicked.click();
    const once = shown();
    clicked.click();
    const twice = shown();
    const other = table.tHead.rows[0].cells[0];
    other.querySelector("button").click();
    const names = [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
    return [before, once, twice, [heading.ariaSort, other.ariaSort], names];
    """
    before, once, twice, sorts, names = chromium.do(order)
    missed = ["missed"] * 4
    assert before == [None, "18.0", "200", "0.9", "0.12", *missed]  # as text, 0.9 comes before 0.12
    assert once == ["ascending", "0.12", "0.9", "18.0", "200", *missed]
    assert twice == ["descending", *missed, "200", "18.0", "0.9", "0.12"]
    assert sorts == [None, "ascending"]
    assert names == sorted(names)


def test_claims_are_chosen_by_verdict_and_by_paper(chromium: Chromium) -> None:
    act = """
    const visible = (words) => all(words).filter((one) => one.checkVisibility());
    const names = () => visible("article").map((one) => one.id.slice(6));
    const buttons = all(".tally button"), paper = $("#paper");
    const look = () => [names().join(" "), visible("#all-claims h3").length, $(".choice p").textContent,
                        buttons.map((one) => one.ariaPressed).join(" "), $(".choice button").checkVisibility()];
    const choose = (place) => { paper.selectedIndex = place; paper.dispatchEvent(new Event("change")); };
    const steps = [look()];
    buttons[2].click();
    steps.push(look());
    choose(2);
    steps.push(look());
    buttons[2].click();
    steps.push(look());
    choose(1);
    buttons[3].click();
    steps.push(look());
    $(".choice button").click();
    steps.push(look());
    return [steps, buttons.map((one) => one.disabled), $(".choice p").role, $("label[for=paper]").textContent,
            [...paper.options].map((one) => one.textContent)];
    """
    steps, disabled, role, label, papers = chromium.do(act)
    none = "false false false false"
    everything = ["first second third fourth", 2, "4 of 4 claims", none, False]
    assert steps == [
        everything,
        ["second fourth", 2, "2 of 4 claims", "false false true false", True],
        ["fourth", 1, "1 of 4 claims", "false false true false", True],
        ["fourth", 1, "1 of 4 claims", none, True],
        ["third", 1, "1 of 4 claims", "false false false true", True],
        everything,
    ]
    assert disabled == [False, True, False, False]  # nothing holds in part
    assert (role, label) == ("status", "Paper")
    assert papers == ["All papers", "Taylor et al. 2016", "Zhang and others"]


def test_claims_without_a_verdict_are_in_a_box_that_opens_for_a_choice(
    chromium: Chromium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMMCTL_RESULTS", str(tmp_path / "results"))
    write_run(tmp_path / "results")
    papers = ("one", "other")
    claims = [judged(paper, Verdict.UNTOLD, paper=paper) for paper in papers]
    page = Path(report(find(), chosen=False, claims=claims).report)
    act = """
    const shown = () => all("article").filter((one) => one.checkVisibility()).length, paper = $("#paper");
    const before = shown();
    paper.selectedIndex = 2;
    paper.dispatchEvent(new Event("change"));
    return [before, shown(), $(".choice p").textContent];
    """
    assert Chromium(chromium.program, page, tmp_path).do(act) == [0, 1, "1 of 2 claims"]


def test_the_picture_on_a_card_leads_to_its_figure(chromium: Chromium) -> None:
    act = """
    const link = $("article a.picture"), image = link.querySelector("img");
    await image.decode();
    link.click();
    await wait(200);
    const place = document.getElementById(location.hash.slice(1)).getBoundingClientRect();
    return [location.hash, image.naturalWidth, image.alt, place.top >= 0 && place.top < innerHeight];
    """
    assert chromium.do(act) == ["#figure-1", 320, "what one shows", True]


def test_a_figure_is_enlarged_and_closed_by_click_and_keyboard(chromium: Chromium) -> None:
    act = """
    const box = $("dialog"), openers = all("button.zoom"), steps = [box.open];
    openers[1].focus();
    openers[1].click();
    steps.push(box.open, box.querySelector("img").src === openers[1].querySelector("img").src,
               box.querySelector("p").textContent, document.activeElement.textContent,
               box.getBoundingClientRect().width >= innerWidth, box.getBoundingClientRect().height >= innerHeight);
    box.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
    steps.push(box.querySelector("p").textContent);
    box.querySelector("img").click();
    steps.push(box.open);
    openers[0].focus();
    openers[0].click();
    box.querySelector("button").click();
    steps.push(box.open, document.activeElement === openers[0]);
    openers[0].click();
    box.requestClose ? box.requestClose() : box.close();  // what Esc does
    steps.push(box.open);
    return steps;
    """
    two, one = "Figure 2, what two shows", "Figure 1, what one shows"
    assert chromium.do(act) == [False, True, True, two, "Close", True, True, one, False, False, True, False]


@pytest.mark.parametrize(("scheme", "first", "then"), [(LIGHT, "light", "dark"), (DARK, "dark", "light")])
def test_light_and_dark_follow_the_system_and_the_button(
    chromium: Chromium, scheme: str, first: str, then: str
) -> None:
    act = """
    const lightness = (words, key) => {
      const numbers = getComputedStyle($(words))[key].match(/[\\d.]+/g).slice(0, 3).map(Number);
      return (numbers[0] + numbers[1] + numbers[2]) / 765;
    };
    const look = () => [lightness("body", "backgroundColor"), lightness("body", "color"), $("#theme").textContent];
    const before = look();
    $("#theme").click();
    return [before, look(), document.documentElement.dataset.theme];
    """
    before, after, chosen = chromium.do(act, scheme)
    assert chosen == then
    for (paper, ink, offered), name, other in ((before, first, then), (after, then, first)):
        assert (paper > 0.9 and ink < 0.2) if name == "light" else (paper < 0.2 and ink > 0.8)
        assert offered.lower() == other


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_window(chromium: Chromium, width: int) -> None:
    """A window of Chromium is never narrower than 500 pixels; a frame in it is."""
    framed = chromium.folder / "framed.html"
    framed.write_text(chromium.page.read_text(encoding="utf-8"), encoding="utf-8")
    act = f"""
    const frame = document.createElement("iframe");
    frame.src = "framed.html"; frame.width = {width}; frame.height = 800; frame.style.border = 0;
    const loaded = new Promise((done) => frame.addEventListener("load", done));
    document.body.append(frame);
    await loaded;
    frame.contentWindow.postMessage("measure", "*");
    const found = await new Promise((done) => addEventListener("message", (event) => done(event.data)));
    return found;
    """
    measure = """<script>addEventListener("message", (event) => {
      for (const box of document.querySelectorAll("details")) box.open = true;
      const wide = [...document.querySelectorAll("body *")].filter((one) =>
        one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".scroll, pre, nav ul, svg, .skip"));
      event.source.postMessage([innerWidth, document.documentElement.scrollWidth,
        wide.map((one) => one.outerHTML.slice(0, 80))], "*");
    });</script></body>"""
    content = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", framed.read_text(encoding="utf-8"))
    framed.write_text(content.replace("</body>", measure), encoding="utf-8")
    inner, scrolled, wide = chromium.do(act)
    assert inner == width
    assert scrolled <= inner
    assert wide == []


def test_a_link_to_a_run_opens_its_box_and_its_command_can_be_copied(chromium: Chromium) -> None:
    act = """
    const link = $("table.runs tbody a"), box = document.getElementById(link.hash.slice(1));
    const before = [box.open, box.parentElement.open];
    link.click();
    await wait(200);
    const copy = box.querySelector(".copied button"), said = [];
    // A clipboard of the test's own: that of a browser without a window answers when it likes.
    for (const answer of [Promise.resolve(), Promise.reject()]) {
        Object.defineProperty(navigator, "clipboard", {configurable: true, value: {
            writeText: (text) => { said.push(text); return answer; },
        }});
        copy.click();
        await wait(100);
        said.push(copy.textContent);
    }
    const line = box.querySelector("pre").textContent;
    return [before, [box.open, box.parentElement.open], said, line, getSelection().toString()];
    """
    before, after, said, line, selected = chromium.do(act)
    assert (before, after) == ([False, False], [True, True])
    assert said == [line, "Copied", line, "Selected"]
    assert selected == line
    assert line.startswith("admmctl train ")


def test_words_from_files_are_shown_as_they_are(chromium: Chromium) -> None:
    act = """
    const reason = all(".reason").map((one) => one.textContent);
    return [reason.includes(%s), $("#figure-1 figcaption p").textContent, document.scripts.length];
    """
    escaped = json.dumps(NASTY).replace("</", "<\\/")
    reason, caption, scripts = chromium.do(act % escaped)
    assert reason
    assert caption == NASTY
    assert scripts == 3  # the page's own, and the two of this test


def test_without_scripts_the_page_is_whole(chromium: Chromium) -> None:
    bare = chromium.folder / "bare.html"
    content, found = re.subn(
        "<script>.*?</script>", "", chromium.page.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    assert found == 1
    bare.write_text(content, encoding="utf-8")
    shown = chromium(bare, "--dump-dom").stdout
    assert not re.findall("<button|<select| hidden", shown)  # nothing that would not work
    assert shown.count("<img") == 3
    assert shown.count("<article") == len(CLAIMS)
    assert "Run it again:" in shown


def test_it_prints_on_paper(chromium: Chromium) -> None:
    paper = chromium.folder / "report.pdf"
    chromium(chromium.page, DARK, "--no-pdf-header-footer", f"--print-to-pdf={paper}")
    assert paper.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(("name", "size", "scheme"), [("light", "1280,2400", LIGHT), ("dark", "1280,2400", DARK)])
def test_a_screenshot_is_kept_where_one_is_wanted(chromium: Chromium, name: str, size: str, scheme: str) -> None:
    folder = Path(os.environ.get("ADMMCTL_SCREENSHOTS") or chromium.folder)
    folder.mkdir(parents=True, exist_ok=True)
    picture = (folder / f"report-{name}.png").absolute()
    chromium(chromium.page, scheme, f"--window-size={size}", f"--screenshot={picture}")
    assert picture.stat().st_size > 20_000
