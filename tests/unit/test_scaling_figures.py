"""Figures and the table of a scaling study: what they show of made-up runs, and of which clock."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from support.shell import on_80_columns
from support.studies import Study

from admmctl.errors import UserError
from admmctl.papers.taylor import POINTS
from admmctl.report import scaling as report
from admmctl.report.scaling import scaling_plots, scaling_table
from admmctl.report.text import seconds
from admmctl.studies.points import summarise
from admmctl.studies.study import Findings

NAMES = [f"{name}.{suffix}" for name in ("seconds", "speedup", "phases") for suffix in ("png", "pdf")]
CPU = {"product": (1.0, 0.9, 0.8), "solve": (0.1, 0.1, 0.1), "reduce": (9.0, 9.0, 9.0)}


@pytest.fixture
def made(tmp_path: Path) -> Study:
    return Study(tmp_path / "made" / "scaling-admm-target-abc123", cores=(1, 2, 4))


def several(study: Study) -> Study:
    return study.runs({1: [4.0, 4.2, 4.4], 2: [2.1, 2.2, 2.3], 4: [1.2, 1.3, 1.4]})


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Figure]]:
    """The figures of a study, or of its findings, by name, as they would be written."""

    def figures_of(study: Study | Findings) -> dict[str, Figure]:
        found: dict[str, Figure] = {}

        def save(figure: Figure, path: Path, made_up: bool) -> list[Path]:
            found[path.name.rpartition("-")[2]] = figure
            return [path]

        result = study if isinstance(study, Findings) else summarise(study.path)
        with monkeypatch.context() as patch:
            patch.setattr(report.style, "save", save)
            scaling_plots(result, paper=POINTS.get(result.data))
        return found

    return figures_of


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are files of a few letters."""
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: file.write(b"a figure"))


def labels(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def drawn(axes: Axes, label: str) -> Any:
    """The line with such a label in the legend."""
    (line,) = [line for line in axes.get_lines() if str(line.get_label()).startswith(label)]
    return line


def all_text(figure: Figure) -> str:
    texts = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    return "\n".join(texts)


# -- files


def test_three_figures_are_written_beside_the_study_as_png_and_pdf(made):
    written = scaling_plots(summarise(several(made).path))
    assert written == [made.path.parent / f"{made.path.name}-{name}" for name in NAMES]
    assert [path.read_bytes()[:4] for path in written] == 3 * [b"\x89PNG", b"%PDF"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("output", "first"), [("figure", "figure"), ("figure.pdf", "figure"), ("v1.2", "v1.2")])
def test_figures_are_called_as_asked(made, tmp_path, output, first):
    written = scaling_plots(summarise(several(made).path), tmp_path / output)
    assert [path.name for path in written] == [f"{first}-{name}" for name in NAMES]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == sorted(p.name for p in written)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("output", [".", "..", "nowhere/figure", "file/figure"])
def test_figures_that_cannot_be_written_are_refused_in_words(made, tmp_path, monkeypatch, output):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    result = summarise(several(made).path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError):
        scaling_plots(result, Path(output))
    assert sorted(tmp_path.rglob("*")) == before


def shared(study: Study) -> None:
    study.runs({1: [4.0]})
    study.run(2, 30.0, cpu=CPU)
    study.run(4, None, cpu=CPU)


def without_communication(study: Study) -> None:
    """Nothing known of communication, and no core of its own for any rank."""
    study.write({**study.document, "machine": {}, "small": None})
    for cores in (2, 4):
        study.run(cores, 30.0, cpu=CPU)


def disturbed(study: Study) -> None:
    """On two cores other work took them in every run."""
    study.runs({1: [4.0], 4: [1.2]})
    study.run(2, 3.0, disturbed=True)


KINDS: dict[str, Any] = {
    "disturbed": disturbed,
    "the first disturbed": lambda study: [study.run(1, 4.0, disturbed=True), study.run(2, 2.0)],
    "several repeats": several,
    "one run each": lambda study: study.runs({1: [4.0], 4: [1.2]}),
    "six repeats": lambda study: study.runs(
        {1: [4.0, 4.1, 4.2, 4.3, 4.4, 4.5], 2: [2.0, 2.1, 2.2, 2.3, None, None]}
    ),
    "all missed": lambda study: study.runs({1: [None, None], 2: [None]}),
    "the first missed": lambda study: study.runs({1: [None, None], 2: [1.0]}),
    "some missed": lambda study: study.runs({1: [4.0], 2: [None, None, 2.0], 4: [None, 1.0, 1.0]}),
    "shared cores": shared,
    "no communication": without_communication,
    "not from one core": lambda study: study.runs({3: [4.0], 6: [2.2]}),
    "many cores": lambda study: study.runs({cores: [100.0 / cores] for cores in (1, 16, 256, 2048)}),
    "nearly no time": lambda study: study.runs({1: [1e-7], 2: [1e-7]}),
}


@pytest.mark.parametrize(
    ("kind", "machine"),
    [*((kind, None) for kind in KINDS), *((kind, "cray-xc30") for kind in ("all missed", "shared cores"))],
)
def test_every_kind_of_study_can_be_drawn(made, draw, kind, machine):
    KINDS[kind](made)
    figures = draw(summarise(made.path, machine))
    assert list(figures) == ["seconds", "speedup", "phases"]
    for figure in figures.values():
        figure.canvas.draw()
        for axes in figure.axes:
            assert all(np.isfinite([*axes.get_xlim(), *axes.get_ylim()]))
            assert not [word for word in ("nan", "inf") if word in all_text(figure).split()]


@pytest.mark.parametrize("name", ["a_b_c", "cost$5$_^x"])
def test_names_are_shown_as_they_are(made, draw, name):
    made.write({**made.document, "experiment": name, "method": f"m{name}"})
    figures = draw(several(made))
    axes = figures["seconds"].axes[0]
    assert axes.get_title(loc="left").replace(r"\$", "$").startswith(f"{name}, ")
    assert any(label.replace(r"\$", "$").startswith(f"m{name}, ") for label in labels(axes))


# -- what is drawn


def test_measured_points_are_the_medians(made, draw):
    figures = draw(several(made))
    line = drawn(figures["seconds"].axes[0], "admm, median of 3")
    assert list(line.get_xdata()) == [1, 2, 4]
    assert list(line.get_ydata()) == [4.2, 2.2, 1.3]
    assert line.get_linestyle() == "None"
    above, below = figures["speedup"].axes
    assert list(drawn(above, "admm").get_ydata()) == pytest.approx([1, 4.2 / 2.2, 4.2 / 1.3])
    markers = [line for line in below.get_lines() if line.get_marker() == line.get_marker() != "_"]
    efficiencies = [list(line.get_ydata()) for line in markers if len(line.get_xdata()) == 3]
    assert any(values == pytest.approx([1, 2.1 / 2.2, 1.05 / 1.3]) for values in efficiencies)


def test_below_six_repeats_every_one_is_drawn_and_from_six_on_an_interval(made, draw):
    made.runs({1: [4.0, 5.0, 6.0], 2: [2.0, 2.1, 2.2, 2.3, 2.4, 9.0]})
    axes = draw(made)["seconds"].axes[0]
    ticks = [line for line in axes.get_lines() if line.get_marker() == "_"]
    assert [(list(line.get_xdata()), sorted(line.get_ydata())) for line in ticks] == [([1] * 3, [4.0, 5.0, 6.0])]
    bars = [line for line in axes.get_lines() if list(line.get_xdata()) == [2, 2]]
    assert [list(line.get_ydata()) for line in bars] == [[2.0, 9.0]]
    assert "admm, median of 6" in labels(axes)


def test_the_model_is_a_line_with_its_bounds(made, draw):
    result = summarise(several(made).path)
    axes = draw(result)["seconds"].axes[0]
    for label, name in (("model, this machine", "seconds"), ("ideal", "ideal"), ("Amdahl bound", "amdahl")):
        line = drawn(axes, label)
        assert list(line.get_xdata()) == result.curve.cores
        assert list(line.get_ydata()) == getattr(result.curve, name)
        assert line.get_marker() in ("None", "")
    bound = drawn(axes, "communication bound")
    assert list(bound.get_ydata()) == result.curve.reduce[1:]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_the_models_speed_up_is_from_the_smallest_count_too(made, draw):
    made.runs({2: [4.0], 4: [2.2]})
    result = summarise(made.path)
    above, below = draw(result)["speedup"].axes
    model = drawn(above, "model")
    assert (model.get_xdata()[0], model.get_ydata()[0]) == (2, 1)
    seconds = dict(zip(result.curve.cores, result.curve.seconds, strict=True))
    assert dict(zip(model.get_xdata(), model.get_ydata(), strict=True))[8] == pytest.approx(
        seconds[2] / seconds[8]
    )
    (efficiency,) = [line for line in below.get_lines() if line.get_color() == model.get_color()][:1]
    assert list(efficiency.get_ydata()) == pytest.approx(list(model.get_ydata() / (model.get_xdata() / 2)))
    ideal = drawn(above, "ideal")
    assert list(ideal.get_ydata() * 2) == list(ideal.get_xdata())
    assert above.get_ylabel() == "speed-up over 2 cores"
    assert below.get_ylabel() == "efficiency"


def test_no_model_is_better_than_ideal_also_from_three_cores(made, draw):
    above, _ = draw(made.runs({3: [4.0], 6: [2.2]}))["speedup"].axes
    for label in ("model", "Amdahl bound"):
        line = drawn(above, label)
        assert line.get_xdata()[0] == 3  # from where it is counted
        assert all(y <= x / 3 * (1 + 1e-9) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True))


def test_weak_scaling_says_so_and_its_ideal_is_flat(tmp_path, draw):
    study = Study(tmp_path / "s", weak=True, goal="iterations", iterations=10, target=None)
    study.run(1, 4.0, rows_train=1500)
    study.run(2, 5.0, rows_train=3000)
    figures = draw(study)
    for figure in figures.values():
        assert "1,500 rows per rank, weak scaling" in figure.axes[0].get_title(loc="left")
    ideal = drawn(figures["seconds"].axes[0], "ideal").get_ydata()
    assert list(ideal) == pytest.approx([ideal[0]] * len(ideal))
    assert "scaled speed-up" in figures["speedup"].axes[0].get_ylabel()
    assert list(drawn(figures["speedup"].axes[0], "admm").get_ydata()) == pytest.approx([1, 1.6])


def test_where_cores_were_shared_points_are_hollow_and_say_so(made, draw):
    shared(made)
    figures = draw(made)
    axes = figures["seconds"].axes[0]
    assert not [label for label in labels(axes) if "median" in label]  # of one run
    hollow = drawn(axes, "admm, one run (shared cores: processor time)")
    full = next(line for line in axes.get_lines() if line.get_label() == "admm, one run")
    assert (hollow.get_markerfacecolor(), list(hollow.get_xdata())) == ("white", [2])
    assert (full.get_markerfacecolor(), list(full.get_xdata())) == (full.get_color(), [1])
    phases = figures["phases"].axes[0]
    assert [tick.get_text() for tick in phases.get_xticklabels()] == ["1", "2*", "4*"]
    assert "processor time" in phases.get_xlabel()
    # A rank that waits for another one spins: its processor time in reductions is the scheduler's doing.
    assert max(bar.get_y() + bar.get_height() for bar in phases.patches) < 0.5  # 4 s and 1 s of 10 iterations


def test_where_other_work_took_the_cores_points_are_pale_and_there_is_no_speed_up(made, draw):
    disturbed(made)
    figures = draw(made)
    pale = drawn(figures["seconds"].axes[0], "admm, one run (disturbed: other work took the cores)")
    assert (list(pale.get_xdata()), pale.get_alpha()) == ([2], 0.4)
    for axes in figures["speedup"].axes:
        points = [x for line in axes.get_lines() if line.get_label() == "admm, one run" for x in line.get_xdata()]
        assert points == [1, 4]
    assert [tick.get_text() for tick in figures["phases"].axes[0].get_xticklabels()] == ["1", "2!", "4"]


def test_the_table_says_where_other_work_took_the_cores(made):
    disturbed(made)
    text = on_80_columns(scaling_table(summarise(made.path)))
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert lines["2!"][-2:] == ["-", "-"]
    assert lines["4"][-3:] == ["3.33", "83", "%"]
    assert "its speed-up cannot be told" in " ".join(text.split())


def test_the_phases_add_up_to_an_iteration(made, draw):
    made.runs({1: [4.0], 2: [2.0]})
    axes = draw(made)["phases"].axes[0]
    tops = [bar.get_y() + bar.get_height() for bar in axes.patches]
    assert max(tops) == pytest.approx(0.94 * 4.0 / 10)
    assert sorted(labels(axes)) == ["elementwise", "product", "reduce", "solve"]  # no load, no evaluation
    assert "seconds per iteration" in axes.get_ylabel()
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2"]


def test_axes_have_units_and_name_their_clock(made, draw, tmp_path):
    axes = draw(several(made))["seconds"].axes[0]
    assert axes.get_ylabel() == "seconds to test accuracy 0.9 (train_s)"
    assert axes.get_xlabel() == "cores (one rank each)"
    fixed = Study(tmp_path / "s", goal="iterations", iterations=1, target=None).runs({1: [4.0], 2: [2.0]})
    axes = draw(fixed)["seconds"].axes[0]
    assert axes.get_ylabel() == "seconds for 1 iteration (train_s)"
    assert axes.get_title(loc="left") == "made, 3,000 rows"


@pytest.mark.parametrize(
    ("data", "cores", "time", "texts"),
    [
        ("higgs", 7200, 7.8, ["Taylor", "7,200 cores", "7.8 s", "theirs", "64 %"]),
        ("svhn-hog", 1024, 13.3, ["Taylor", "1,024 cores", "13.3 s", "theirs", "95 %"]),
    ],
)
def test_the_papers_number_is_drawn_as_theirs(made, draw, data, cores, time, texts):
    made.write({**made.document, "data": data})
    axes = draw(several(made))["seconds"].axes[0]
    star = drawn(axes, "Taylor")
    assert (list(star.get_xdata()), list(star.get_ydata())) == ([cores], [time])
    (label,) = [label for label in labels(axes) if "Taylor" in label]
    for word in texts:
        assert word in label
    low, high = axes.get_xlim()
    assert low < cores < high


@pytest.mark.parametrize(
    "changes",
    [
        {"data": "swissroll"},
        {"data": "svhn"},
        {"data": "higgs", "goal": "iterations", "iterations": 10},
        {"data": "higgs", "goal": "iterations", "iterations": 10, "weak": True},
    ],
    ids=str,
)
def test_the_papers_time_to_accuracy_is_on_no_other_figure(made, draw, changes):
    # Measuring rule 6: fixed-iteration time and time to accuracy are different plots.
    made.write({**made.document, **changes})
    for figure in draw(several(made)).values():
        assert "Taylor" not in all_text(figure)


def test_another_machine_is_named_and_drawn_beside_this_one(made, draw):
    result = summarise(several(made).path, "cray-xc30")
    axes = draw(result)["seconds"].axes[0]
    line = drawn(axes, "model, Cray XC30")
    assert list(line.get_ydata()) == result.machine.curve.seconds
    assert drawn(axes, "model, this machine")


# -- the table


def rows(text: str) -> dict[str, list[str]]:
    lines = [line.split() for line in text.splitlines()]
    return {line[0]: line for line in lines if line and line[0].rstrip("*").isdecimal()}


def test_the_table_has_a_line_per_core_count(made):
    made.runs({1: [4.0, 4.1, 4.2, 4.3, 4.4, 4.5], 2: [2.0, 3.0, None], 4: [None, None, 1.0]})
    found = rows(on_80_columns(scaling_table(summarise(made.path))))
    assert found["1"] == ["1", "6/6", "4.25", "4.00", "to", "4.50", "0.425", "1.00", "100", "%"]
    assert found["2"] == ["2", "2/3", "3.00", "-", "0.3", "1.42", "71", "%"]
    assert found["4"][:4] == ["4", "1/3", "never", "-"]
    assert found["4"][-2:] == ["-", "-"]


def test_the_table_says_what_it_is_about_and_where_cores_were_shared(made):
    shared(made)
    text = on_80_columns(scaling_table(summarise(made.path))).replace("\n", " ")
    for words in (
        "seconds to test accuracy 0.9",
        "Medians over repeats",
        "train_s",
        "held-out core counts: 2 cores",
        "(computation only)",
        "note: 2 cores: ranks shared cores",
        "2*",
    ):
        assert words in text


@settings(max_examples=8)
@given(st.data())
def test_the_table_fits_a_terminal_and_no_number_is_cut(tmp_path_factory, data):
    times = st.one_of(st.none(), st.floats(1e-6, 1e5))
    study = Study(tmp_path_factory.mktemp("s") / "scaling-admm-target-abc123")
    wanted = {cores: data.draw(st.lists(times, min_size=1, max_size=6)) for cores in (1, 10_000)}
    study.runs(wanted)
    result = summarise(study.path)
    text = on_80_columns(scaling_table(result))
    table = text.partition("Medians")[0]
    assert "…" not in table
    for point in result.points:
        assert rows(table)[str(point.cores)][2] == seconds(point.median_s)
        if not math.isfinite(point.efficiency):
            assert rows(table)[str(point.cores)][-1] == "-"
