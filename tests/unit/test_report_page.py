"""The report's page: what is in it, in which order, and runs and files in any state."""

import base64
import io
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.recorded_runs import NASTY, judged, number, write_figure, write_run

from admmctl import __version__
from admmctl.report.page import document, report
from admmctl.report.sidecar import read_figures
from admmctl.report.verdict import Judged, Verdict
from admmctl.runs.places import find, root
from admmctl.runs.recorded import Recorded

VOID = ("meta", "img", "br", "input", "link")


class Page(HTMLParser):
    """Reads a page: its elements, whether they are closed in order, and its text."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page(
    output: Path = Path("report.html"), now: datetime | None = None, claims: Sequence[Judged] | str = ()
) -> Page:
    """The page on everything in the results folder."""
    figures, left_out = read_figures(root() / "figures")
    return Page(document(find(), figures, left_out, output, now, claims))


def test_the_heading_says_what_is_in_it(results: Path) -> None:
    write_run(results)
    write_run(results, seed=1)
    write_run(results, experiment="other")
    write_figure(results / "figures", "one")
    text = page(now=datetime(2024, 5, 6, 7, 8, tzinfo=UTC)).text
    for part in ("3 runs of 2 experiments and 1 figure", "Some CPU (2 cores)", "here", "06 May 2024, 07:08 UTC"):
        assert part in text
    assert f"admmctl {__version__}" in text


def test_the_page_is_sound(results: Path) -> None:
    """One h1, no heading left out, ids once, links that lead somewhere, images with texts, nothing to load."""
    write_run(results)
    write_run(results, "sgd", accuracies=(0.5, 0.6))
    write_run(results, experiment="other")
    write_figure(results / "figures", "one", numbers=[number()])
    found = page(claims=[judged("first", figure="one"), judged("second", paper="Zhang")])
    levels = [int(name[1]) for name, _ in found.elements if re.fullmatch("h[1-6]", name)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for link in found.all("a"):
        target = link["href"] or ""
        assert target.startswith("data:text/csv;") or target.removeprefix("#") in ids
    assert all(image["alt"] and str(image["src"]).startswith("data:image/png;") for image in found.all("img"))
    assert all(heading["scope"] in ("col", "row") for heading in found.all("th"))
    assert len(found.all("caption")) == len(found.all("table"))
    assert found.all("html") == [{"lang": "en"}]
    assert not found.all("link")
    assert all("src" not in script for script in found.all("script"))
    (policy,) = (meta["content"] for meta in found.all("meta") if "http-equiv" in meta)
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; ")


def test_names_and_reasons_from_files_never_become_markup(results: Path) -> None:
    folder = write_run(results, experiment="made", status="failed", reason=NASTY, method="admm")
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(
        json.dumps({**summary, "experiment": NASTY, "method": NASTY, "rerun": NASTY, NASTY: NASTY})
    )
    (folder / "environment.json").write_text(json.dumps({"cpu": [NASTY], "hosts": [NASTY], NASTY: [NASTY]}))
    write_run(results, experiment="with a target and '\"<b>", seed=2)
    texts = dict.fromkeys(("paper", "number", "shows", "caption", "scale"), NASTY)
    item = number(NASTY, unit=NASTY, paper_text=NASTY, note=NASTY)
    write_figure(
        results / "figures",
        "one",
        [(NASTY, "y"), (1, 2), (3, 4)],
        **texts,
        numbers=[item],
    )
    (results / "figures" / "<script>.json").write_text("{")
    words = dict.fromkeys(("paper", "where", "text", "evidence", "needs", "differs", "rerun"), NASTY)
    found = page(claims=[judged(NASTY, figure="one", **words)])
    assert len(found.all("script")) == 1
    assert not found.all("b")
    assert found.text.count(NASTY) >= 19
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]


def test_numbers_stand_beside_the_papers_and_other_work_is_called_that(results: Path) -> None:
    write_figure(
        results / "figures",
        "one",
        numbers=[
            number("alike", paper=1234.5, ours=617.25, ratio=0.5),
            number("unlike", paper_text="13.3 s on 1,024 cores", ours=266.0, ratio=20.0, same_work=False),
            number("no ratio", paper_text="in words", ours=None, ratio=None, same_work=False),
            number("nothing", ours=None, ratio=None, unit="%"),
            number("no number of theirs", paper=None, paper_text="not given", ratio=None),
        ],
    )
    content = document([], *read_figures(results / "figures"), Path("report.html"))
    rows = dict(re.findall(r'<tr><th scope="row">([^<]*)</th>(.*?)</tr>', content))
    assert ">1,234 s<" in rows["alike"]
    assert ">617.2 s<" in rows["alike"]
    assert '<td class="number ratio" data-value="0.5">0.5</td>' in rows["alike"]
    assert "other work" not in rows["alike"]
    assert "13.3 s on 1,024 cores" in rows["unlike"]
    assert re.search(r'class="number ratio other"[^>]*>20<br><small>other work, other machine', rows["unlike"])
    assert "other work, other machine" in rows["no ratio"]
    assert "in words" in rows["no ratio"]
    assert rows["nothing"].count(">-</td>") == 2
    assert len(rows) == 4
    assert "not given" not in content
    assert "Experiments" not in content  # of which there are none


def parts(found: Page) -> list[str | None]:
    """The page's parts by their ids, in order."""
    return [of["aria-labelledby"] for of in found.all("section") if of.get("class") == "part"]


def texts(content: str, look: str) -> list[str]:
    """What the paragraphs of this class say."""
    return re.findall(f'<p class="{look}">(.*?)</p>', content)


FOUR = [judged(f"{verdict.name.lower()}-{place}", verdict) for place in range(2) for verdict in Verdict]


def test_claims_are_the_first_part_with_how_many_have_which_verdict(results: Path) -> None:
    write_run(results)
    write_figure(results / "figures", "one", numbers=[number()])
    found = page(claims=[*FOUR, judged("more", Verdict.UNTOLD, paper="Zhang and others")])
    assert parts(found) == ["claims", "figures", "numbers", "experiments", "measuring"]
    words = ("2 hold", "2 hold in part", "2 do not hold", "3 cannot be told here")
    assert re.sub(r"\s+", " ", found.text).count(" ".join(words)) == 1
    assert "9 claims, in our words" in found.text
    cards = [card["id"] for card in found.all("article")]
    assert cards == [f"claim-{claim.id.replace('_', '-')}" for claim in FOUR] + ["claim-more"]
    assert found.text.index("Taylor et al. 2016") < found.text.index("Zhang and others")
    assert "1 holds " in re.sub(r"\s+", " ", page(claims=[judged()]).text)


def test_a_card_says_all_there_is_about_a_claim(results: Path) -> None:
    claim = judged(
        "wide", Verdict.IN_PART, evidence="98.4 % (n=6)", needs="two cores", differs="fewer rows", where="Table 3"
    )
    content = document([], [], [], Path("report.html"), claims=[claim])
    (card,) = re.findall("<article.*?</article>", content, re.DOTALL)
    assert texts(card, "verdict") == ["holds in part"]
    assert texts(card, "evidence") == ["98.4\u00a0% (n=6)"]
    assert texts(card, "about") == ["Table 3"]
    for part in (">The claim wide.</h4>", "<dd>two cores</dd>", "<dd>fewer rows</dd>"):
        assert part in card
    command = re.findall("<code>(.*?)</code>", card)
    assert [re.sub("<.*?>", "", line) for line in command] == ["admmctl claims wide --run"]
    bare = document([], [], [], Path("report.html"), claims=[judged(rerun="")])
    (card,) = re.findall("<article.*?</article>", bare, re.DOTALL)
    assert not re.findall("<dl>|<pre|<a |<img", card)


def test_a_card_has_a_small_picture_of_its_figure_if_that_is_drawn(results: Path) -> None:
    figures = results / "figures"
    for place, name in enumerate(("one", "two", "broken", "paper"), start=1):
        write_figure(figures, name, number=f"Figure {place}")
    (figures / "broken.png").write_bytes((figures / "broken.png").read_bytes()[:200])
    (figures / "paper.png").unlink()
    names = ["two", "broken", "paper", "not drawn", None]
    claims = [judged(f"of-{name}", figure=name) for name in names]
    content = document([], *read_figures(figures), Path("report.html"), claims=claims)
    links = [
        re.findall('<a href="(.*?)" class="picture">(.*?)</a>', card) for card in content.split("<article")[1:]
    ]
    addresses = [link[0][0] if link else None for link in links]
    assert addresses == ["#figure-2", "#figure-3", "#figure-4", None, None]
    assert [link[0][1] for link in links[1:3]] == ["<span>Figure 3</span>", "<span>Figure 4</span>"]
    (encoded,) = re.findall('<img src="data:image/png;base64,(.*?)" alt="what two shows"', links[0][0][1])
    small = base64.b64decode(encoded)
    with Image.open(io.BytesIO(small)) as image:
        assert max(image.size) == 320
    assert len(small) < (figures / "two.png").stat().st_size / 2


def test_claims_that_none_of_these_runs_tell_stand_back(results: Path) -> None:
    """Who reports on runs of their own does not scroll through claims without a verdict first."""
    boxes = [box for box in page(claims=[judged(verdict=Verdict.UNTOLD)]).all("details") if not box]
    assert boxes == [{}]
    assert page(claims=FOUR).all("details") == []


def test_of_chosen_runs_there_are_only_the_claims_told_from_them(results: Path) -> None:
    one, other = write_run(results), write_run(results, seed=1)
    claims = [judged("first", runs=[str(one)]), judged("second", runs=[str(other)]), judged("third")]
    report([Recorded(one)], chosen=True, claims=claims)
    content = (results / "report.html").read_text()
    assert re.findall('<article id="(.*?)"', content) == ["claim-first"]
    report([Recorded(one)], chosen=True, claims=claims[1:])
    assert 'id="claims"' not in (results / "report.html").read_text()
    report([Recorded(one)], chosen=False, claims=claims)
    assert (results / "report.html").read_text().count("<article") == 3


def test_without_verdicts_the_page_says_why_in_a_line(results: Path) -> None:
    run = write_run(results)
    found = page(claims="there is no configs here & now")
    assert parts(found) == ["claims", "experiments", "measuring"]
    assert "None has a verdict here: there is no configs here & now\n" in found.text
    assert not found.all("article")
    report([Recorded(run)], chosen=True, claims="there is no configs here")
    assert "no configs" not in (results / "report.html").read_text()


def test_points_are_a_table_and_long_ones_are_thinned(results: Path) -> None:
    figures = results / "figures"
    write_figure(figures, "short", [("x", "name"), (1, "a"), (10, "b"), ("nan", "c")])
    write_figure(figures, "long", [("x", "y"), *((x, x) for x in range(1000))])
    write_figure(figures, "huge", [("x", "y"), *((x, "9" * 100) for x in range(1500))])
    write_figure(figures, "ragged")
    (figures / "ragged.csv").write_text("x,y\n1\n")
    write_figure(figures, "empty")
    (figures / "empty.csv").write_text("")
    write_figure(figures, "bytes")
    (figures / "bytes.csv").write_bytes(b"x,y\n\xff,1\n")
    found = page(results / "sub" / "report.html")
    assert "Points: 3 rows" in found.text
    assert "Points of long: 200 of 1,000 rows" in found.text
    assert "999" in found.text
    assert "its rows differ in length" in found.text
    assert "it is empty" in found.text
    assert "bytes.csv cannot be shown" in found.text
    links = [link for link in found.all("a") if not str(link["href"]).startswith("#")]
    assert sorted(str(link.get("download")) for link in links) == ["None", "long.csv", "short.csv"]
    assert [link["href"] for link in links if "download" not in link] == ["../figures/huge.csv"]


def test_runs_have_their_table_medians_and_details(results: Path) -> None:
    for seed in range(6):
        write_run(results, seed=seed, seconds=1.0 + seed / 10)
        write_run(results, "sgd", seed=seed, accuracies=(0.5, 0.7))
    found = page()
    assert "Medians over repeats: target test accuracy 0.9, 12 runs" in found.text
    assert "6 of 6" in found.text
    assert "0 of 6" in found.text
    assert "2.00 to 3.00" in found.text  # the interval of 2 to 3 s
    assert "12 runs: 6 reached, 6 exhausted" in found.text
    boxes = [box for box in found.all("details") if box.get("class") == "run"]
    assert len(boxes) == 12
    assert found.text.count("Run it again:") == 12
    assert found.text.count("Seconds by phase, over ranks") == 12
    assert len([drawn for drawn in found.all("svg") if str(drawn["class"]).startswith("spark ")]) == 12
    assert "missed" in found.text


def test_runs_of_which_other_work_took_the_cores_are_marked(results: Path) -> None:
    write_run(results, disturbed=True, seconds=1.5)
    write_run(results, "sgd", disturbed=False, seconds=1.75)
    text = page().text
    assert "2 runs: 2 reached; 1 disturbed (!)" in text
    assert "3.00 !" in text
    assert "3.50 !" not in text
    assert "disturbed, 1 of its runs" in text


def test_runs_that_broke_off_are_shown_as_they_are(results: Path) -> None:
    write_run(results, status="failed", reason="out of memory", accuracies=(), final_test_accuracy=None)
    interrupted = write_run(results, seed=1, status="interrupted")
    killed = write_run(results, seed=2)
    (killed / "summary.json").unlink()
    for name in ("curve.csv", "phases.csv", "environment.json"):
        (killed / name).write_text("\x00{")
    bare = write_run(results, seed=3)
    for path in bare.iterdir():
        path.unlink()
    (bare / "config.yaml").write_text("name: [")
    found = page()
    assert "4 runs: 1 failed, 1 interrupted, 2 unfinished" in found.text
    assert "out of memory" in found.text
    assert interrupted.name in found.text
    assert f"admmctl train {killed / 'config.yaml'}" in found.text
    assert "nan" not in found.text


@pytest.mark.parametrize(
    "summary",
    [
        {"status": "reached"},
        {"status": 3, "experiment": 4, "method": None, "ranks": "two", "seed": None},
        {"status": "reached", "seed": 0, "ranks": 1, "target": "high", "train_s": [], "final_test_accuracy": "x"},
        {"status": "reached", "seed": 0, "ranks": 1, "metric": None, "target": 0.5, "time_to_target_s": None},
        {"status": "reached", "seed": 0, "ranks": 1, "target": {}, "iterations": 10**400},
    ],
)
def test_a_damaged_summary_breaks_nothing(results: Path, summary: dict[str, Any]) -> None:
    write_run(results)
    folder = write_run(results, seed=1)
    (folder / "summary.json").write_text(json.dumps(summary))
    found = page()
    assert folder.name in found.text
    assert len([box for box in found.all("details") if box.get("class") == "run"]) == 2


def test_a_damaged_config_breaks_nothing(results: Path) -> None:
    for seed, content in enumerate(("methods: {admm: 3}\n", "methods: [1]\n", "3\n", "data: 3\nmethods: {}\n")):
        (write_run(results, seed=seed) / "config.yaml").write_text(content)
    assert "4 runs: 4 reached" in page().text


def test_runs_that_differ_in_data_or_target_have_medians_of_their_own(results: Path) -> None:
    write_run(results)
    write_run(results, seed=1, target=0.95, status="exhausted", time_to_target_s=None)
    write_run(results, seed=2, target=None, time_to_target_s=None)
    text = page().text
    for goal in ("target test accuracy 0.9, 1 run", "target test accuracy 0.95, 1 run", "no target, 1 run"):
        assert f"Medians over repeats: {goal}" in text


def test_chosen_runs_bring_the_figures_drawn_from_them(results: Path) -> None:
    one, other = write_run(results), write_run(results, seed=1)
    write_figure(results / "figures", "first", runs=[str(one)])
    write_figure(results / "figures", "second", runs=[str(other)])
    assert report([Recorded(one)], chosen=True).figures == 1
    assert "The caption of first." in (results / "report.html").read_text()
    assert report([Recorded(one)], chosen=False).figures == 2


def test_hundreds_of_runs_stay_some_megabytes(results: Path) -> None:
    curve = tuple(0.5 + 0.4 * place / 150 for place in range(150))
    for seed in range(60):
        write_run(results, seed=seed, accuracies=curve)
    size = report(find(), chosen=False).bytes
    assert size / 60 < 20_000
