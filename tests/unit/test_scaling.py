"""Which runs a scaling study makes: in what order, what it runs again, on which rows, and what it refuses."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.studies import SMALL, machine, small_experiment, write_run

from admmctl.data import shards
from admmctl.errors import Interrupted, RunFailed, UserError
from admmctl.experiment.config import Run
from admmctl.runs.events import Watcher
from admmctl.runs.recorded import Recorded
from admmctl.runs.train import Options
from admmctl.studies import scaling as module
from admmctl.studies.points import summarise
from admmctl.studies.scaling import Request, parse_cores, scaling
from admmctl.studies.study import NoSmallStep, Study


class Place:
    """A folder where studies are made of runs that only pretend: which, and in what order, is remembered."""

    def __init__(self, path: Path, results: Path) -> None:
        self.path, self.results = path, results
        self.ran: list[tuple[int, int]] = []  # cores and seed
        self.measured: list[int] = []  # core counts on which the machine was, 0 for the small iteration
        self.options: list[Options] = []
        self.notes: list[str] = []
        self.failing: set[tuple[int, int]] = set()
        self.stopping: set[tuple[int, int]] = set()
        self.disturbed: dict[tuple[int, int], int] = {}  # how often yet
        self.resumed: list[Path] = []

    def write(self, **changes: Any) -> None:
        (self.path / "small.yaml").write_text(yaml.safe_dump(small_experiment(**changes), sort_keys=False))

    def on_cores(self, run: Run, rows: int, repeat: int, options: Options, say: Any) -> dict[str, Any]:
        self.measured.append(0 if rows else options.cores)
        return SMALL if rows else machine(options.cores)

    def execute(
        self, run: Run, options: Options, watcher: Any, place: Path, resume: Recorded | None
    ) -> dict[str, Any]:
        which = (options.cores, run.seed)
        self.ran.append(which)
        self.resumed += [] if resume is None else [resume.folder]
        self.options.append(options)
        if which in self.stopping:
            raise Interrupted("interrupted after 3 iterations", [])
        shutil.rmtree(place, ignore_errors=True)
        plan = shards.plan(run.data, options.cores)
        failed = which in self.failing
        self.disturbed[which] = self.disturbed.get(which, 0) - 1
        write_run(
            place,
            cores=options.cores,
            seed=run.seed,
            time=None if failed else 1.0 / options.cores,
            config=yaml.safe_load(run.yaml()),
            sha256=plan.source.fingerprint(),
            rows_train=plan.rows_train,
            rows_test=plan.rows_test,
            disturbed=self.disturbed[which] >= 0,
            **({"status": "failed", "reason": "out of luck"} if failed else {}),
        )
        if failed:
            raise RunFailed(f"run {place} failed: out of luck", [])
        return Recorded(place).row

    def __call__(self, cores: str = "1,2", overrides: tuple[str, ...] = (), **options: Any) -> Path:
        """The study's folder; what was run, measured and noted since."""
        self.ran, self.measured, self.notes, self.options = [], [], [], []
        path = self.path / "small.yaml"
        part, how = options.pop("part", None), Options(oversubscribe=options.pop("oversubscribe", False))
        request = Request(path, cores, options=how, overrides=overrides, **options)
        return scaling(request, Watcher(), self.notes.append, part)

    def study(self, *arguments: Any, **options: Any) -> Study:
        """What study.json says after that."""
        study = Study.read(self(*arguments, **options))
        assert study is not None
        return study

    def rows(self, folder: Path) -> dict[str, tuple[int | None, int | None]]:
        """Training and test rows of every run."""
        summaries = {path.name: Recorded(path).summary for path in folder.glob("admm-*")}
        return {name: (found.rows_train, found.rows_test) for name, found in summaries.items() if found}

    def refusal(self, cores: str = "1,2", overrides: tuple[str, ...] = (), **options: Any) -> str:
        """Refused with exit code 2 before anything was written, measured or run."""
        before = sorted(self.results.parent.rglob("*"))
        with pytest.raises(UserError) as refused:
            self(cores, overrides, **options)
        assert refused.value.exit_code == 2
        assert sorted(self.results.parent.rglob("*")) == before
        assert (self.ran, self.measured) == ([], [])
        return str(refused.value)


@pytest.fixture
def place(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """With eight cores, so that runs of several are nobody's oversubscription."""
    made = Place(tmp_path, results)
    made.write()
    monkeypatch.setattr(module, "execute", made.execute)
    monkeypatch.setattr(module, "on_cores", made.on_cores)
    monkeypatch.setattr("admmctl.launch.local.available_cores", lambda: 8)
    monkeypatch.chdir(tmp_path)
    return made


# -- --cores


@given(st.lists(st.integers(1, 1_000_000), min_size=1, max_size=8), st.sampled_from([",", ", ", " ,", ",,"]))
def test_core_counts_are_sorted_and_each_is_there_once(counts, comma):
    text = comma.join(map(str, counts))
    if len(set(counts)) > 1:
        assert parse_cores(text) == sorted(set(counts))
    else:
        with pytest.raises(UserError, match="one point makes no scaling study"):
            parse_cores(text)


BAD = ["", ",", "a,b", "0,1", "1;2", "-1,2", "1.0,2", "1,²", "1,1000001", "all", "1-4", "1 2"]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_list_of_core_counts_says_what_one_is(text):
    with pytest.raises(UserError, match=r"--cores .*expected numbers of cores .*1,2,4"):
        parse_cores(text)


# -- what is refused, before anything is written

REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"cores": "1"}, ["--cores 1", "one point"]),
    ({"cores": "1,1"}, ["--cores 1,1", "one point"]),
    ({"cores": "1,2,999"}, ["--cores 999", "8 cores", "--oversubscribe"]),
    ({"cores": "1,301", "oversubscribe": True}, ["301 ranks for 300 training rows"]),
    ({"cores": "1,301", "oversubscribe": True, "weak": True}, ["301 ranks for 300 training rows"]),
    ({"repeat": 0}, ["--repeat 0", "1 or more"]),
    ({"repeat": 10_001}, ["--repeat 10001", "at most 10,000"]),
    ({"iterations": 0}, ["--iterations 0", "1 or more"]),
    ({"iterations": 5, "to_target": True}, ["--iterations and --to-target"]),
    ({"weak": True, "to_target": True}, ["--weak with --to-target", "--iterations"]),
    ({"to_target": True, "overrides": ("stop={iterations: 5}",)}, ["--to-target", "no target", "stop.target"]),
    ({"overrides": ("stop={epochs: 5}",)}, ["does not say how many iterations to time", "--iterations N"]),
    ({"weak": True, "overrides": ("stop={target: 0.9, epochs: 5}",)}, ["--iterations"]),
    ({"method": "all"}, ["--method all", "name one"]),
    ({"method": "amdm"}, ["unknown method 'amdm'", "did you mean 'admm'"]),
    ({"overrides": ("data={name: mnist}",)}, ["admmctl fetch mnist"]),
    ({"overrides": ("data.rows=0",)}, ["data.rows"]),
    ({"overrides": ("network.layrs=[1]",)}, ["did you mean 'layers'"]),
]


@pytest.mark.parametrize(("options", "texts"), REFUSED, ids=[str(options) for options, _ in REFUSED])
def test_what_makes_no_sense_is_refused_before_anything_is_written(place, options, texts):
    message = place.refusal(**options)
    for word in texts:
        assert word in message, message


def test_a_missing_launcher_and_a_results_folder_that_cannot_be_written_are_refused(place, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("ADMMCTL_MPIEXEC", "no-such-mpiexec")
        assert "no-such-mpiexec" in place.refusal()
    monkeypatch.setenv("ADMMCTL_RESULTS", str(place.path / "small.yaml"))
    assert "cannot be written" in place.refusal()


def test_a_launcher_of_another_mpi_leaves_no_study_behind(place, monkeypatch):
    def of_another_family(run: Run, rows: int, repeat: int, options: Options, say: Any) -> dict[str, Any]:
        if options.cores == 1:
            return place.on_cores(run, rows, repeat, options, say)
        raise UserError("2 ranks were started but MPI sees 1")

    monkeypatch.setattr(module, "on_cores", of_another_family)
    with pytest.raises(UserError, match="MPI sees 1"):
        place()
    assert place.ran == []
    assert not list(place.results.rglob("scaling-*")), "exit code 2 means that nothing was written"


# -- which runs, in which order


def test_repeats_and_core_counts_take_turns(place):
    folder = place("4,1,2", repeat=2)
    assert place.ran == [(1, 0), (2, 0), (4, 0), (1, 1), (2, 1), (4, 1)]
    assert {options.threads for options in place.options} == {None}
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    assert names == [f"admm-p{cores}-s{seed}" for cores in (1, 2, 4) for seed in (0, 1)]
    assert folder.parent == place.results / "small"
    assert place.notes[0] == str(folder)


def test_seeds_count_from_the_experiments_own(place):
    place("1,2", ("seed=5",), repeat=2)
    assert place.ran == [(1, 5), (2, 5), (1, 6), (2, 6)]


def test_a_study_says_what_it_is_and_on_what_machine(place):
    study = place.study("1,2")
    assert (study.experiment, study.method, study.method_kind) == ("small", "admm", "admm")
    assert (study.goal, study.iterations, study.target, study.weak) == ("target", None, 0.9, False)
    assert (study.metric, study.data, study.batch) == ("test_accuracy", "swissroll", None)
    assert sorted(study.machine) == ["1", "2"]
    assert study.small.model_dump() == SMALL
    place.write(methods={"sgd": {"batch": 32}})
    assert place.study("1,2").batch == 32  # the rows that an iteration reads


@pytest.mark.parametrize(
    ("options", "goal", "iterations"),
    [
        ({}, "target", None),
        ({"to_target": True}, "target", None),
        ({"iterations": 5}, "iterations", 5),
        ({"overrides": ("stop={iterations: 7}",)}, "iterations", 7),
        ({"weak": True}, "iterations", 7),
        ({"weak": True, "iterations": 3}, "iterations", 3),
    ],
)
def test_the_target_is_timed_where_there_is_one_and_nothing_else_is_asked(place, options, goal, iterations):
    study = place.study("1,2", **options)
    assert (study.goal, study.iterations) == (goal, iterations)
    config = Recorded(next(place.results.rglob("admm-p1-s0"))).config
    if goal == "target":
        assert config["stop"]["target"] == 0.9
    else:
        assert config["stop"] == {"metric": "test_accuracy", "iterations": iterations}
        assert config["evaluate"] == {"every": iterations, "unit": "iteration"}
        assert study.target is None


def test_a_number_of_iterations_ends_at_nothing_else(place):
    place.write(
        data={"name": "swissroll", "rows": 400, "validation": 0.1},
        stop={"iterations": 7, "target": 0.5, "epochs": 3, "seconds": 1.0, "patience": 2},
    )
    config = Recorded(place("1,2", iterations=9) / "admm-p2-s0").config
    assert config["stop"] == {"metric": "test_accuracy", "iterations": 9}


# -- going on


def test_a_finished_study_runs_and_measures_nothing_again(place):
    folder = place("1,2", repeat=2)
    before, numbers = (folder / "study.json").read_text(), summarise(folder)
    assert place("1,2", repeat=2) == folder
    assert (place.ran, place.measured) == ([], [])
    assert (folder / "study.json").read_text() == before
    assert summarise(folder) == numbers


DAMAGED = ["summary.json", "phases.csv", "environment.json", "config.yaml"]


@pytest.mark.parametrize("status", ["no summary", *DAMAGED, "interrupted", "failed", "diverged"])
def test_only_what_has_not_finished_is_run_again(place, status):
    run = place("1,2", repeat=2) / "admm-p2-s1"
    (run / "left").touch()
    path, text = run / "summary.json", (run / "summary.json").read_text()
    if status == "no summary":
        path.unlink()
    elif status in DAMAGED:
        (run / status).write_bytes(b"{\xff")
    else:
        path.write_text(json.dumps({**json.loads(text), "status": status}))
    place("1,2", repeat=2)
    again = status != "diverged"  # which is a result
    assert (place.ran, place.measured) == ([(2, 1)] if again else [], [])
    assert (run / "left").exists() != again
    assert ("run 4 of 4: 2 cores, seed 1" in place.notes) == again


def test_repeats_and_core_counts_are_added_to_what_is_there(place):
    folder = place("1,2", repeat=1)
    assert place("1,2", repeat=2) == folder
    assert (place.ran, place.measured) == ([(1, 1), (2, 1)], [])
    assert place("1,4,2", repeat=2) == folder
    assert (place.ran, place.measured) == ([(4, 0), (4, 1)], [4])
    assert place("2,4", repeat=1) == folder  # fewer than there are: nothing to do, and nothing is lost
    assert place.ran == []
    found = summarise(folder).points
    assert [(point.cores, point.runs) for point in found] == [(1, 2), (2, 2), (4, 2)]


ROWS = ["network.layers=[6]", "data.rows=404", "data.test=0.5", "data.seed=3", "data.scale=none", "data.noise=0.5"]
SETTINGS = ["methods.admm.beta=3.0", "seed=1", "stop.target=0.8", *ROWS]


@pytest.mark.parametrize(
    ("first", "other"),
    [
        *(({}, {"overrides": (change,)}) for change in SETTINGS),
        *(({}, other) for other in ({"method": "gd"}, {"iterations": 8}, {"weak": True})),
        *(
            ({"weak": True}, {"weak": True, "overrides": (change,)})
            for change in (*ROWS, "methods.admm.beta=3.0", "data.classes=[1, 0]")
        ),
        ({"weak": True}, {"weak": True, "cores": "1,2,4"}),
        # As many rows per rank, 150, but other test rows.
        ({"weak": True}, {"weak": True, "cores": "1,4", "overrides": ("data.rows=800",)}),
    ],
    ids=str,
)
def test_other_settings_make_another_study(place, first, other):
    folder = place(**first)
    assert place(**other) != folder
    assert len(place.ran) == 3 * len(other.get("cores", "1,2").split(","))


def test_a_damaged_study_is_refused_and_not_run(place):
    path = place("1,2") / "study.json"
    path.write_text("{")
    with pytest.raises(UserError, match=r"study\.json .*remove the folder"):
        place("1,2,4")
    assert (place.ran, place.measured) == ([], [])
    assert path.read_text() == "{"


# -- what goes wrong on the way


def test_a_run_that_fails_does_not_stop_the_others_and_is_tried_again(place):
    place.failing = {(2, 0), (1, 1)}
    with pytest.raises(RunFailed) as failure:
        place("1,2", repeat=2)
    assert place.ran == [(1, 0), (2, 0), (1, 1), (2, 1)]
    assert all(f"{name} failed: out of luck" in str(failure.value) for name in ("admm-p2-s0", "admm-p1-s1"))
    place.failing = set()
    folder = place("1,2", repeat=2)
    assert place.ran == [(2, 0), (1, 1)]
    assert [point.runs for point in summarise(folder).points] == [2, 2]


def test_an_interruption_keeps_what_is_finished_and_says_how_to_go_on(place):
    place.stopping = {(1, 1)}
    with pytest.raises(Interrupted) as stop:
        place("1,2", repeat=3)
    assert place.ran == [(1, 0), (2, 0), (1, 1)]
    assert "interrupted after 3 iterations" in str(stop.value)
    assert "the same command goes on" in str(stop.value)
    place.stopping = set()
    place("1,2", repeat=3)
    assert place.ran == [(1, 1), (2, 1), (1, 2), (2, 2)]


@pytest.mark.parametrize("change", ["nothing", "no checkpoint", "the data", "the settings", "a damaged config"])
def test_a_run_that_was_begun_goes_on_where_it_has_a_checkpoint_of_the_same_settings_and_data(place, change):
    place.failing = {(2, 0)}
    with pytest.raises(RunFailed):
        place("1,2", repeat=1)
    place.failing = set()
    (run,) = (
        path.parent for path in place.results.rglob("summary.json") if Recorded(path.parent).status == "failed"
    )
    if change != "no checkpoint":
        (run / "checkpoint" / "4").mkdir(parents=True)
    config = run / "config.yaml"
    if change == "the data":
        (run / "environment.json").write_text('{"data_sha256": "other"}')
    elif change == "the settings":
        config.write_text(config.read_text().replace("target: 0.9", "target: 0.8"))
    elif change == "a damaged config":
        config.write_text("{")
    place("1,2", repeat=1)
    assert place.ran == [(2, 0)]
    assert place.resumed == ([run] if change == "nothing" else [])


def test_a_method_that_cannot_run_on_hardly_any_rows_is_studied_all_the_same(place, monkeypatch):
    def large_only(run: Run, rows: int, repeat: int, options: Options, say: Any) -> dict[str, Any]:
        if rows:
            raise UserError("bench: the method needs more rows")
        return machine(options.cores)

    monkeypatch.setattr(module, "on_cores", large_only)
    assert place.study("1,2").small == NoSmallStep(error="bench: the method needs more rows")
    assert len(place.ran) == 6


def test_a_machine_is_measured_on_no_more_cores_than_it_has(place):
    folder = place("2,8,16", repeat=1, oversubscribe=True)
    assert place.measured == [0, 2, 8]
    assert [options.oversubscribe for options in place.options] == [True] * 3
    assert [point.cores for point in summarise(folder).points] == [2, 8, 16]


@pytest.mark.parametrize(("times", "runs"), [(1, 2), (2, 3), (3, 3)])
def test_a_run_of_which_other_work_took_the_cores_is_made_again_twice_at_most(place, times, runs):
    place.disturbed = {(2, 0): times}
    folder = place("1,2", repeat=2)
    assert place.ran == [(1, 0), *[(2, 0)] * runs, (1, 1), (2, 1)]
    said = [note for note in place.notes if "other work" in note]
    again = [f"admm-p2-s0: other work took its cores; it runs again ({each} of 2)" for each in (1, 2)]
    still = "admm-p2-s0: other work took its cores again: no speed-up is made of it"
    assert said == [*again[: runs - 1], *[still] * (times == 3)]
    two = summarise(folder).points[1]
    assert (two.runs, two.disturbed) == (1 if times == 3 else 2, False)
    # The same command tries once more.
    place.disturbed = {}
    place("1,2", repeat=2)
    assert place.ran == ([(2, 0)] if times == 3 else [])
    assert summarise(folder).points[1].runs == 2


# -- weak scaling: tests/unit/test_weak_shares.py has the rows of every rank


def test_weak_runs_have_their_shares(place):
    folder = place("1,2,4", weak=True, repeat=1)
    assert place.rows(folder) == {"admm-p1-s0": (75, 100), "admm-p2-s0": (150, 100), "admm-p4-s0": (300, 100)}
    assert summarise(folder).weak
    assert "weak" in folder.name


# -- in parts, each a job's


@pytest.mark.parametrize("weak", [False, True], ids=["strong", "weak"])
def test_parts_make_the_study_that_one_command_makes(place, weak):
    asked: dict[str, Any] = {"repeat": 2, "weak": weak, "iterations": 3}
    whole = place("1,2,4", **asked)
    expected, described = place.rows(whole), Study.read(whole)
    shutil.rmtree(whole)
    for part in (4, 1, 2):
        assert place("1,2,4", **asked, part=part) == whole
        assert place.ran == [(part, 0), (part, 1)]
    assert place.rows(whole) == expected
    assert Study.read(whole) == described


def test_a_part_that_is_none_is_refused(place):
    assert "--part 3: it is none of --cores 1,2" in place.refusal(part=3)
