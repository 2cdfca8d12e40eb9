"""A study of several methods: which trials and runs it makes, in what order, and what it refuses."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.studies import SMALL, machine, small_experiment, write_curve, write_run

from admmctl.data import shards
from admmctl.errors import ConfigError, DataError, Interrupted, RunFailed, UserError
from admmctl.experiment import config
from admmctl.experiment.config import Run
from admmctl.launch.options import Options
from admmctl.runs.events import Watcher
from admmctl.runs.recorded import Recorded
from admmctl.studies import scaling as studies
from admmctl.studies import tuning
from admmctl.studies.crossings import compare_studies
from admmctl.studies.points import summarise
from admmctl.studies.scaling import Request
from admmctl.studies.several import Several, is_several, jobs_of, several
from admmctl.studies.study import Study
from admmctl.studies.tuning import space_of

METHODS = {
    "admm": {},
    "sgd": {"learning_rate": 0.1, "momentum": 0.9},
    "adam": {"learning_rate": 0.01},
    "graph-admm": {},
}
SWEEP = {"seed": 3, "space": {"admm": {"beta": {"low": 0.1, "high": 10.0}}, "sgd": {"batch": [32, 64]}}}


def no_data(*_: Any) -> str:
    raise DataError("dataset swissroll is not in datasets")


def batch_of(run: Run) -> int | None:
    return getattr(run.settings, "batch", None)


def rate_of(run: Run) -> float | None:
    return getattr(run.settings, "learning_rate", None)


class Place:
    """A folder where trials and runs only pretend: which there were, in what order, is remembered."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trials: list[Run] = []
        self.options: list[Options] = []  # of the trials
        self.ran: list[tuple[str, int | None, int, int]] = []  # method, batch, cores, seed
        self.notes: list[str] = []
        self.begun: list[Path] = []  # what went on from a checkpoint
        # Iterations to the target; None for a miss. Trials and runs alike, unless a trial has a number of its own.
        self.iterations: Callable[[Run], int | None] = lambda run: 100
        self.breaks: Callable[[Run], bool] = lambda run: False
        self.stops: Callable[[Run], bool] = lambda run: False

    def write(self, **changes: Any) -> None:
        asked = {"methods": METHODS, "stop": {"iterations": 500, "target": 0.9}, "sweep": SWEEP, **changes}
        document = small_experiment(**asked)
        (self.path / "small.yaml").write_text(yaml.safe_dump(document, sort_keys=False))

    def execute(
        self, run: Run, options: Options, watcher: Any, place: Path, resume: Recorded | None
    ) -> dict[str, Any]:
        trial = place.name.startswith("trial-")
        self.begun += [] if resume is None else [resume.folder]
        if trial:
            self.trials.append(run)
            self.options.append(options)
        else:
            self.ran.append((run.method, batch_of(run), options.cores, run.seed))
        if self.stops(run):
            text = yaml.safe_load(run.yaml())
            write_run(place, cores=1, seed=run.seed, time=None, config=text, sha256=None, status="interrupted")
            raise Interrupted("interrupted after 3 iterations", [])
        shutil.rmtree(place, ignore_errors=True)
        plan = shards.plan(run.data, options.cores)
        iterations, budget = self.iterations(run), run.stop.iterations
        if iterations is not None and budget is not None and iterations > budget:
            iterations = None
        failed = self.breaks(run)
        write_run(
            place,
            cores=options.cores,
            seed=run.seed,
            time=None if iterations is None or failed else 0.01 * iterations / options.cores,
            config=yaml.safe_load(run.yaml()),
            sha256=plan.source.fingerprint(),
            method=run.method,
            experiment=run.experiment,
            iterations=iterations or budget,
            rows_train=plan.rows_train,
            **({"status": "failed", "reason": "out of luck"} if failed else {}),
        )
        if failed:
            raise RunFailed(f"run {place} failed: out of luck", [])
        write_curve(place, [0.5], validation_accuracy=[0.5 if rate_of(run) is None else 0.5 + rate_of(run) / 100])
        return Recorded(place).row

    def __call__(self, method: str | None = "admm,sgd", batches: str | None = None, **options: Any) -> list[Path]:
        self.ran, self.trials, self.notes, self.options = [], [], [], []
        trials = options.pop("trials", 6)
        request = Request(self.path / "small.yaml", options.pop("cores", "1,2"), method, **options)
        return several(Several(request, batches, trials), Watcher(), self.notes.append)

    def refusal(self, *arguments: Any, **options: Any) -> str:
        """One line with which a study is refused before anything is written or run."""
        before = sorted(self.path.rglob("*"))
        with pytest.raises(UserError) as refused:
            self(*arguments, **options)
        assert refused.value.exit_code == 2
        assert sorted(self.path.rglob("*")) == before
        assert (self.ran, self.trials) == ([], [])
        assert "\n" not in str(refused.value)
        return str(refused.value)


@pytest.fixture
def place(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    made = Place(tmp_path)
    made.write()
    monkeypatch.setattr(studies, "execute", made.execute)
    monkeypatch.setattr(tuning, "execute", made.execute)
    monkeypatch.setattr(
        studies, "on_cores", lambda run, rows, repeat, options, say: SMALL if rows else machine(options.cores)
    )
    monkeypatch.setattr("admmctl.launch.local.available_cores", lambda: 8)
    monkeypatch.chdir(tmp_path)
    return made


# -- runs


def test_runs_take_turns_by_repeat_method_batch_and_cores(place):
    folders = place("sgd,graph-admm", "200,100", cores="2,1", repeat=2, trials=1)
    assert place.ran == [
        (method, batch, cores, seed)
        for seed in (0, 1)
        for method in ("sgd", "graph-admm")
        for batch in (100, 200)
        for cores in (1, 2)
    ]
    assert place.trials == []  # there is but the file's own
    assert [folder.name.rsplit("-", 1)[0] for folder in folders] == ["scaling-sgd-target"] * 2 + [
        "scaling-graph-admm-target"
    ] * 2
    described = [Study.read(folder) for folder in folders]
    assert [study.batch for study in described if study] == [100, 200, 100, 200]
    assert len(set(folders)) == 4


def test_the_studies_are_compared_as_one(place):
    place.iterations = lambda run: {"sgd": 400}.get(run.method, 100)
    folders = place("admm,sgd", repeat=2)
    (((together, _),), left_out) = compare_studies([summarise(folder) for folder in folders])
    assert left_out == []
    assert [line.method for line in together.lines] == ["admm", "sgd"]
    assert [each.iterations.median for each in together.studies] == [100, 400]
    (crossing,) = together.crossings
    assert (crossing.method, crossing.rival) == ("sgd", "admm")


def test_a_second_time_nothing_runs_again(place):
    folders = place("sgd,adam", "100", repeat=2)
    assert (len(place.trials), len(place.ran)) == (12, 8)
    assert place("sgd,adam", "100", repeat=2) == folders
    assert (place.trials, place.ran) == ([], [])
    assert place("sgd,adam", "100", repeat=3) == folders  # repeats are added
    assert [seed for *_, seed in place.ran] == [2, 2, 2, 2]


def test_what_studies_will_run_is_known_before_and_what_they_ran_after(place):
    place.iterations = lambda run: 100 if rate_of(run) in (0.1, 0.01) else 50  # other settings than the file's win
    asked = Several(Request(place.path / "small.yaml", "1,2", "sgd,adam", repeat=2), "100,200", 3)
    before = jobs_of(asked)
    trials = [job for job in before if "trials-" in job.place]
    assert [job.run.data.validation is not None for job in before] == [job in trials for job in before]
    assert (len(trials), len(before), {job.ranks for job in trials}) == (2 * 2 * 3, 2 * 2 * (3 + 2 * 2), {2})
    assert not any(job.done for job in before)
    place("sgd,adam", "100,200", trials=3, repeat=2)
    assert (len(place.trials), len(place.ran)) == (len(trials), len(before) - len(trials))
    after = jobs_of(asked)
    assert (len(after), len({job.identity for job in after})) == (len(before), len(before))
    assert all(job.done for job in after)
    runs = [job for job in after if "trials-" not in job.place]
    ran = [(job.run.method, batch_of(job.run), job.ranks, job.run.seed) for job in runs]
    assert sorted(place.ran) == sorted(ran)
    assert not {rate_of(job.run) for job in runs} & {0.1, 0.01}
    more = jobs_of(Several(Request(place.path / "small.yaml", "1,2", "sgd,adam", repeat=3), "100,200", 3))
    assert sum(not job.done for job in more) == 2 * 2 * 2


def test_a_disturbed_run_is_to_be_made_again(place):
    (folder,) = place("admm", repeat=1, trials=1)
    (run,) = folder.glob("admm-p2-*")
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "disturbed": True}))
    jobs = jobs_of(Several(Request(place.path / "small.yaml", "1,2", "admm", repeat=1), None, 1))
    assert [(job.ranks, job.done) for job in jobs] == [(1, True), (2, False)]


def test_without_the_data_nothing_counts_as_recorded(place, monkeypatch):
    place("sgd", "100", trials=2, repeat=1)
    monkeypatch.setattr("admmctl.runs.resume.Fingerprints.data", no_data)
    jobs = jobs_of(Several(Request(place.path / "small.yaml", "1,2", "sgd", repeat=1), "100", 2))
    assert [job.done for job in jobs] == [False] * 4


def test_an_interruption_keeps_what_is_finished(place):
    place.stops = lambda run: rate_of(run) is not None and rate_of(run) != 0.1
    with pytest.raises(Interrupted):
        place("sgd,adam", repeat=1)
    assert len(place.trials) == 2
    place.stops = lambda run: False
    place("sgd,adam", repeat=1)
    assert len(place.trials) == 6 + 6 - 1


def test_a_trial_that_was_interrupted_goes_on_from_its_checkpoint(place, monkeypatch):
    monkeypatch.setattr("admmctl.runs.resume.checkpoint.exist", lambda path: path.exists())
    monkeypatch.setattr("admmctl.runs.resume.Fingerprints.data_difference", lambda self, run, folder: "")
    place.stops = lambda run: rate_of(run) != 0.1
    with pytest.raises(Interrupted):
        place("sgd", "100")
    place.stops = lambda run: False
    place("sgd", "100", trials=6)
    assert [folder.name[:9] for folder in place.begun] == ["trial-001"]


def test_a_run_that_breaks_is_named_and_the_others_go_on(place):
    place.breaks = lambda run: run.method == "sgd" and run.data.validation is None
    with pytest.raises(RunFailed) as failure:
        place("sgd,adam", repeat=1)
    assert "out of luck" in str(failure.value)
    assert [(method, cores) for method, _, cores, _ in place.ran if method == "adam"] == [("adam", 1), ("adam", 2)]


# -- trials


def test_every_method_has_as_many_trials_on_held_back_rows(place):
    place("admm,sgd,adam", trials=4)
    assert [run.method for run in place.trials] == ["admm"] * 4 + ["sgd"] * 4 + ["adam"] * 4
    for run in place.trials:
        assert run.data.validation == 0.1
        assert (run.stop.metric, run.stop.target) == ("validation_accuracy", 0.9)
        assert run.seed == 0
    assert all(options.cores == 2 for options in place.options)  # the same curve as on one, sooner
    first = next(run for run in place.trials if run.method == "sgd")
    assert (rate_of(first), first.settings.momentum) == (0.1, 0.9)  # as in the file


def test_what_is_varied_is_the_files_space_without_its_batch_and_always_the_learning_rate(place):
    found = config.load(place.path / "small.yaml")
    assert found.sweep is not None
    admm, sgd = (space_of(found.runs[name], found.sweep) for name in ("admm", "sgd"))
    assert list(admm) == ["beta"]
    assert list(sgd) == ["learning_rate"]
    assert (sgd["learning_rate"].low, sgd["learning_rate"].high) == (0.025, 0.4)
    assert space_of(found.runs["graph-admm"], None) == {}
    own = found.sweep.model_copy(update={"space": {"sgd": {"learning_rate": [0.1, 0.2], "momentum": [0.5]}}})
    assert space_of(found.runs["sgd"], own) == {"learning_rate": [0.1, 0.2], "momentum": [0.5]}
    place("graph-admm,sgd", trials=3)
    assert [run.method for run in place.trials] == ["sgd"] * 3  # nothing of graph-admm can be tuned here
    assert any("graph-admm: the settings of the file; there is nothing to tune" in note for note in place.notes)


def test_a_batch_size_has_trials_of_its_own_and_the_fewest_iterations_win(place):
    def iterations(run: Run) -> int:
        best = {100: 0.05, 300: 0.2}[batch_of(run) or 0]  # the larger batch wants the larger steps
        return 100 + round(1000 * abs((rate_of(run) or 0) - best))

    place.iterations = iterations
    place("sgd", "100,300", trials=6)
    tried = {size: [run for run in place.trials if batch_of(run) == size] for size in (100, 300)}
    assert [len(runs) for runs in tried.values()] == [6, 6]
    for folder in place.path.glob("results/small/scaling-sgd-*/sgd-p1-s0"):
        block = Recorded(folder).method_block[1]
        best = min(tried[block["batch"]], key=iterations)
        assert block["learning_rate"] == rate_of(best)
    assert len({rate_of(min(runs, key=iterations)) for runs in tried.values()}) == 2


def test_a_trial_that_needs_more_than_the_best_before_it_ends_there(place):
    found = iter([300, None, 200, 250, 100, 90])
    place.iterations = lambda run: next(found) if run.data.validation else 50
    place("sgd", "100")
    assert [run.stop.iterations for run in place.trials] == [500, 300, 300, 200, 200, 100]
    table = (place.path / "results/small/trials-sgd-b100-to-0.9/trials.csv").read_text().splitlines()
    assert table[0] == "trial,learning_rate,iterations,accuracy,status,reason"
    assert [line.split(",")[2] for line in table[1:]] == ["300", "", "200", "", "100", "90"]


def test_a_smaller_batch_size_that_takes_far_longer_has_lost(place):
    place("sgd,adam", "100,300", trials=2)
    tried = [(run.method, batch_of(run)) for run in place.trials[::2]]
    assert tried == [("sgd", 300), ("adam", 300), ("sgd", 100), ("adam", 100)]
    seconds = 0.01 * 100 / place.options[0].cores
    assert [run.stop.seconds for run in place.trials[:4]] == [None] * 4
    assert [run.stop.seconds for run in place.trials[4:]] == [pytest.approx(tuning.SLOWER * seconds)] * 4
    place.iterations = lambda run: None
    place("sgd", "10,30", trials=2)
    assert {run.stop.seconds for run in place.trials} == {None}  # nothing is known to be faster


def test_another_target_has_trials_of_its_own(place):
    place("sgd", "100")
    place("sgd", "100", overrides=("stop.target=0.8",))
    assert len(place.trials) == 6
    place("sgd", "100")
    assert place.trials == []
    assert len(list(place.path.glob("results/small/trials-*/trials.csv"))) == 2


def test_a_trial_that_gets_no_better_for_long_has_lost(place):
    place("sgd", "100")
    assert {run.stop.patience for run in place.trials} == {tuning.PATIENCE}
    place.write(stop={"iterations": 500, "target": 0.9, "patience": 5}, validation=0.2)
    place("sgd", "200")
    assert {run.stop.patience for run in place.trials} == {5}


def test_misses_come_after_hits_and_among_themselves_by_accuracy(place):
    place.iterations = lambda run: None  # the accuracy that a trial pretends to have rises with its learning rate
    place("sgd", "100")
    (chosen,) = {Recorded(path).method_block[1]["learning_rate"] for path in place.path.rglob("sgd-p1-s0")}
    assert chosen == max(rate_of(run) for run in place.trials)
    highest = max(place.trials, key=lambda run: rate_of(run) or 0)
    place.write(methods={**METHODS, "sgd": {"learning_rate": 0.101}})
    place.iterations = lambda run: 400 if rate_of(run) == 0.101 else None
    place("sgd", "100")
    assert place.ran
    assert rate_of(highest) != 0.101
    assert any("learning_rate" not in note and "400 iterations on held-back rows" in note for note in place.notes)


def test_a_batch_size_without_a_hit_is_left_out_unless_there_is_no_other(place):
    place.iterations = lambda run: None if run.method == "adam" or batch_of(run) == 300 else 100
    place("sgd,adam", "100,300", repeat=1)
    assert {(method, batch) for method, batch, *_ in place.ran} == {("sgd", 100), ("adam", 100), ("adam", 300)}
    assert any("sgd, batches of 300: left out" in note for note in place.notes)


def test_a_trial_that_breaks_is_a_miss_and_all_that_break_are_an_error(place):
    place.breaks = lambda run: run.data.validation is not None and rate_of(run) != 0.1
    place("sgd", "100")
    assert len(place.ran) == 6
    shutil.rmtree(place.path / "results")
    place.breaks = lambda run: True
    with pytest.raises(RunFailed, match="every trial of sgd, batches of 100 failed"):
        place("sgd", "100")


def test_a_target_on_the_training_rows_stays_what_it_is(place):
    place("sgd,adam", overrides=("stop.metric=train_accuracy",), trials=2)
    assert {run.stop.metric for run in place.trials} == {"train_accuracy"}
    assert {run.data.validation for run in place.trials} == {0.1}


# -- what is refused


@pytest.mark.parametrize(
    ("asked", "texts"),
    [
        ({"method": "admm,sdg"}, ["unknown method 'sdg'", "did you mean 'sgd'"]),
        ({"method": "sgd,all"}, ["--method sgd,all", "by their names"]),
        ({"method": ","}, ["--method ,"]),
        ({"method": "sgd,admm", "batches": "32"}, ["admm reads all rows", "no batch size", "without --batches"]),
        ({"batches": "0,1"}, ["--batches 0,1", "128,512"]),
        ({"batches": ""}, ["--batches", "128,512"]),
        ({"method": "sgd", "batches": "301"}, ["301 rows", "300 training rows"]),
        ({"cores": "1"}, ["--cores 1", "one point"]),
        ({"cores": "1,9"}, ["--cores 9", "8 cores"]),
        ({"iterations": 5}, ["--iterations with several methods"]),
        ({"weak": True}, ["--weak with several methods"]),
        ({"trials": 0}, ["--trials 0"]),
        ({"repeat": 0}, ["--repeat 0"]),
        ({"overrides": ("stop={iterations: 5}",)}, ["no target", "stop.target"]),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(place, asked, texts):
    message = place.refusal(**asked)
    for word in texts:
        assert word in message, message


def test_a_trial_that_is_not_valid_is_refused_with_its_number(place):
    place.write(sweep={"space": {"sgd": {"momentum": [2.0]}}})
    with pytest.raises(ConfigError, match="trial 1 of sgd is not valid"):
        place("sgd,admm")
    assert place.trials == []


@pytest.mark.parametrize(
    ("method", "batches", "more"),
    [(None, None, False), ("sgd", None, False), ("sgd,adam", None, True), (None, "1", True)],
)
def test_one_method_without_batches_is_the_study_it_always_was(method, batches, more):
    assert is_several(method, batches) == more


def test_the_accuracy_on_held_back_rows_as_a_target_needs_such_rows(place):
    with pytest.raises(ConfigError, match=r"stop\.metric.*validation split"):
        config.load(place.path / "small.yaml", ["stop.metric=validation_accuracy"])
    changed = ["stop.metric=validation_accuracy", "validation=0.2"]
    run = config.load(place.path / "small.yaml", changed).runs["sgd"]
    assert run.stop.metric == "validation_accuracy"
