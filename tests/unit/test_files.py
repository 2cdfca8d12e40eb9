"""A dataset of one's own: .npy and .csv files, with and without a heading, a test pair or a fraction."""

import gzip
import io
import json
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.small_data import Array, Few, FewSet, all_rows, sha256

from admmctl.cli import main
from admmctl.comm import Serial
from admmctl.data import shards
from admmctl.data.dataset import DataSettings, lacking_classes, split
from admmctl.data.files import Files, FilesSettings, FilesSource
from admmctl.errors import DataError
from admmctl.experiment.config import load

GENERATOR = np.random.default_rng(0)
X = np.round(GENERATOR.standard_normal((40, 3)), 3)
Y = GENERATOR.integers(0, 3, 40) * 2 - 1  # labels -1, 1 and 3
X_TEST = np.round(GENERATOR.standard_normal((7, 3)), 3)
Y_TEST = np.array([1, 3, -1, 1, 1, 3, -1])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which paths are relative to."""
    monkeypatch.chdir(tmp_path)
    np.save("X.npy", X)
    np.save("y.npy", Y)
    np.save("X_test.npy", X_TEST)
    np.save("y_test.npy", Y_TEST)
    return tmp_path


def table(path: str, columns: Array, heading: str = "") -> str:
    """Write a CSV; compressed where the name says so."""
    text = heading + "".join(",".join(map(repr, row)) + "\n" for row in columns.tolist())
    Path(path).write_bytes(gzip.compress(text.encode()) if path.endswith(".gz") else text.encode())
    return path


def opened(**settings: Any) -> FilesSource:
    return Files().open(FilesSettings(**settings))


def loaded(**settings: Any) -> shards.Shards:
    return shards.load(shards.plan(FilesSettings(scale="none", **settings), 1), Serial())


def refusal(**settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        loaded(**settings)
    return str(caught.value)


def check(source: FilesSource) -> None:
    """The training rows are X and Y."""
    x, labels = all_rows(source)
    np.testing.assert_array_equal(x, X.astype(np.float32))
    assert labels == Y.tolist()
    assert (source.features, list(source.labels_known)) == (3, [-1, 1, 3])


# --- what is read

NPY = {"x": "X.npy", "y": "y.npy"}
PAIR = {**NPY, "x_test": "X_test.npy", "y_test": "y_test.npy"}
FIRST, LAST = np.column_stack([Y, X]), np.column_stack([X, Y])


def quoted(path: str, columns: Array) -> str:
    """A CSV whose numbers stand in quotation marks, those of the first row too."""
    Path(path).write_text("\n".join(",".join(f'"{value}"' for value in row) for row in columns.tolist()))
    return path


def array(path: str, values: Array) -> str:
    np.save(path, values)
    return path


LAYOUTS: dict[str, Callable[[], dict[str, str]]] = {
    "arrays": lambda: NPY,
    "an array, its labels first": lambda: {"x": array("all.npy", FIRST), "label": "first"},
    "an array, its labels last": lambda: {"x": array("all.npy", LAST), "label": "last"},
    "a table, its labels first": lambda: {"x": table("all.csv", FIRST), "label": "first"},
    "a table, its labels last": lambda: {"x": table("all.csv", LAST), "label": "last"},
    "a heading, labels last": lambda: {"x": table("all.csv.gz", LAST, "a,b,c,label\n"), "label": "last"},
    "two tables": lambda: {"x": table("X.csv", X), "y": table("y.csv", Y[:, None])},
    "two headings": lambda: {"x": table("X.csv", X, "a,b,c\n"), "y": table("y.csv", Y[:, None], "label\n")},
    "one heading of two": lambda: {"x": table("X.csv", X, "a,b,c\n"), "y": table("y.csv", Y[:, None])},
    "an array and a table": lambda: {"x": "X.npy", "y": table("y.csv.gz", Y[:, None])},
    "numbers in quotation marks": lambda: {"x": quoted("X.csv", X), "y": "y.npy"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_are_read_as_they_are_from_every_layout(layout: str) -> None:
    check(opened(**LAYOUTS[layout]()))


@pytest.mark.parametrize("kind", ["f2", "f4", ">f8", "i1", "i8", "u1", "?"])
def test_numbers_of_any_kind(kind: str) -> None:
    x = np.arange(120).reshape(40, 3) % 2
    np.save("X.npy", x.astype(kind))
    np.save("y.npy", (Y == 1).astype(kind))
    found, labels = all_rows(opened(**NPY))
    np.testing.assert_array_equal(found, x)
    assert labels == (Y == 1).astype(int).tolist()


def test_images_are_rows_of_pixels_and_columns_of_labels_are_labels() -> None:
    images = np.arange(40 * 4 * 5, dtype=np.uint8).reshape(40, 4, 5)
    np.save("X.npy", np.asfortranarray(images))
    np.save("y.npy", Y[:, None])
    found, labels = all_rows(opened(**NPY))
    np.testing.assert_array_equal(found, images.reshape(40, 20))
    assert labels == Y.tolist()


def test_a_path_in_the_home_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    source = opened(x="~/X.npy", y="~/y.npy")
    check(source)
    assert source.fingerprint() == opened(**NPY).fingerprint()


def test_the_fingerprint_is_of_all_files_and_of_how_rows_are_prepared_and_is_taken_once() -> None:
    table("all.csv", FIRST)
    for block in (NPY, PAIR, {"x": "all.csv", "label": "first"}):
        source = opened(**block)
        sums = [sha256(Path(path).read_bytes()) for key, path in block.items() if key != "label"]
        expected = sha256(" ".join(["files/2", *sums]).encode())
        assert source.fingerprint() == expected
        Path(block["x"]).write_bytes(b"another file")
        assert source.fingerprint() == expected
        np.save("X.npy", X)


def test_large_arrays_are_mapped_and_not_read() -> None:
    array: Any = opened(**NPY).stored("train", range(40))
    while isinstance(array, np.ndarray):
        array = array.base
    assert isinstance(array, mmap.mmap)


# --- which rows test


def test_a_test_pair_is_the_test_set_and_file_order_is_kept() -> None:
    own = loaded(**PAIR)
    np.testing.assert_array_equal(own.train.a0[:-1].T, X.astype(np.float32))
    np.testing.assert_array_equal(own.test.a0[:-1].T, X_TEST.astype(np.float32))
    assert own.train.labels.tolist() == ((Y + 1) // 2).tolist()
    assert own.test.labels.tolist() == ((Y_TEST + 1) // 2).tolist()


@pytest.mark.parametrize("label", ["first", "last"])
def test_a_test_table_has_its_labels_where_the_other_has(label: str) -> None:
    columns = {"first": (Y_TEST, X_TEST), "last": (X_TEST, Y_TEST)}[label]
    train = table("train.csv", FIRST if label == "first" else LAST)
    source = opened(x=train, x_test=table("test.csv.gz", np.column_stack(columns)), label=label)
    check(source)
    x, labels = all_rows(source, "test")
    np.testing.assert_array_equal(x, X_TEST.astype(np.float32))
    assert labels == Y_TEST.tolist()


def numbered() -> None:
    """Features that are the row's number."""
    np.save("X.npy", np.arange(40.0)[:, None])


def rows_of(own: shards.Shards) -> list[list[int]]:
    """The numbers of the training and of the test rows, in order."""
    return [shard.a0[0].astype(int).tolist() for shard in (own.train, own.test)]


@pytest.mark.parametrize(("fraction", "count"), [(None, 8), (0.2, 8), (0.5, 20), (0.03, 1)])
def test_a_fraction_is_held_back_by_the_seed(fraction: float | None, count: int) -> None:
    numbered()
    options = {} if fraction is None else {"test": fraction}
    own, repeated, other = (loaded(**NPY, **options, seed=seed) for seed in (0, 0, 1))
    train, test = rows_of(own)
    assert len(test) == count
    assert sorted(train + test) == list(range(40))
    assert train + test != list(range(40))
    assert rows_of(repeated) == rows_of(own)
    assert rows_of(other)[1] != test
    np.testing.assert_array_equal(own.test.labels, ((Y + 1) // 2)[test])


@pytest.mark.parametrize("test", [{}, {"test": 0.25}, {"test": "rest"}])
def test_a_seed_shuffles_before_the_first_rows_are_taken(test: dict[str, Any]) -> None:
    numbered()
    inside, repeated, other = (rows_of(loaded(**NPY, train=30, seed=seed, **test)) for seed in (0, 0, 1))
    assert inside[0] != list(range(30))
    assert inside == repeated != other
    assert len(inside[0]) == 30
    assert not set(inside[0]) & set(inside[1])


@pytest.mark.parametrize("keep", [{"train": 12, "test": "official"}, {"rows": 12}, {"first": 12}])
def test_a_seed_shuffles_the_training_rows_where_the_test_rows_are_apart(keep: dict[str, Any]) -> None:
    numbered()
    np.save("X_test.npy", np.arange(7.0)[:, None])
    plain, inside = (rows_of(loaded(**PAIR, **keep, **seed)) for seed in ({}, {"seed": 0}))
    assert plain[0] == list(range(12))
    assert len(set(inside[0])) == 12
    assert inside[0] != plain[0]
    assert inside[1] == plain[1] == list(range(7))


@pytest.mark.parametrize(("keep", "noted"), [({"train": 30}, True), ({"test": 0.2}, True), ({}, False)])
def test_test_files_that_are_not_used_are_said(keep: dict[str, Any], noted: bool) -> None:
    plan = shards.plan(FilesSettings(**PAIR, **keep), 1)
    assert (plan.split.test_part == "train") == noted
    note = "data.x_test is not used: rows of data.x test, unless data.test is official"
    assert (note in plan.notes) == noted
    assert note not in shards.plan(FilesSettings(**PAIR, train=30, test="official"), 1).notes


def test_no_seed_is_the_same_on_every_rank_and_every_time() -> None:
    """Fractions are chosen by seed 0; where the first rows train, file order is kept."""
    numbered()
    assert rows_of(loaded(**NPY, seed=None)) == rows_of(loaded(**NPY)) == rows_of(loaded(**NPY, seed=0))
    first = [list(range(30)), list(range(30, 40))]
    assert rows_of(loaded(**NPY, seed=None, train=30)) == rows_of(loaded(**NPY, train=30)) == first


def test_a_run_keeps_its_seed_and_no_seed() -> None:
    """A rank reads the written-out experiment: that must not make a seed of none."""
    for seed, order in (({}, True), ({"seed": 0}, False)):
        experiment: dict[str, Any] = {
            "name": "mine",
            "data": {"name": "files", **NPY, "train": 30, **seed},
            "network": {"layers": [4]},
            "loss": "squared",
            "methods": {"admm": {}},
        }
        (run,) = load(experiment).runs.values()
        (again,) = load(run.document()).runs.values()
        for data in (run.data, again.data):
            rows = shards.plan(data, 1).split.train
            assert (list(rows) == list(range(30))) == order
        assert run.hash() == again.hash()


# --- classes that rows lack


def sorted_labels(*counts: int) -> dict[str, str]:
    """Rows in the order of their classes 5, 6, ..., so many of each."""
    np.save("X.npy", GENERATOR.standard_normal((sum(counts), 3)))
    np.save("y.npy", np.repeat(np.arange(5, 5 + len(counts)), counts))
    return NPY


@pytest.mark.parametrize(
    "keep",
    [{"train": 20}, {"rows": 25, "train": 16, "test": 0.2}, {"train": 30, "first": 20}, {"train": 18, "rows": 30}],
)
def test_training_rows_of_one_class_are_refused(keep: dict[str, Any]) -> None:
    data = sorted_labels(20, 20)
    with pytest.raises(DataError, match=r"all (16|18|20) training rows are of class 5: ") as caught:
        loaded(**data, **keep)
    assert "data.seed: 0 shuffles the rows before the split" in str(caught.value)
    own = loaded(**data, **keep, seed=0)
    assert set(own.train.labels.tolist()) == {0, 1}
    np.save("y.npy", np.full(40, 3))
    assert "all 40 training rows are of class 3: there is nothing to tell it from; no other row" in refusal(**PAIR)


@pytest.mark.parametrize(
    ("labels", "cure"),
    [([0, 1] * 20, ""), ([0] * 20 + [1] * 20, "data.seed: 0 shuffles")],
    ids=["mixed", "sorted"],
)
def test_training_rows_of_one_class_are_refused_in_other_datasets(labels: list[int], cure: str) -> None:
    source, settings = Few(labels), DataSettings(name="few", train=20)
    problem, _ = lacking_classes(FewSet(), settings, source, split(FewSet(), settings, source))
    assert cure in problem
    assert bool(problem) == bool(cure)


def test_it_is_refused_before_anything_is_written(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = sorted_labels(20, 20)
    Path("mine.yaml").write_text(
        f"name: mine\ndata: {{name: files, x: {data['x']}, y: {data['y']}, train: 20}}\nnetwork: {{layers: [4]}}\n"
        "loss: squared\nmethods: {admm: {}}\n"
    )
    with pytest.raises(SystemExit) as end:
        main(["train", "mine.yaml"])
    assert end.value.code == 2
    assert "all 20 training rows are of class 5" in capsys.readouterr().err
    assert not results.exists()


def test_classes_that_no_training_row_has_are_said() -> None:
    data = sorted_labels(20, 10, 20)
    plan = shards.plan(FilesSettings(**data, train=25), 1)
    assert plan.notes == (
        "no training row is of the class of some test rows: 7; data.seed: 0 shuffles the rows before the split",
    )
    assert shards.plan(FilesSettings(**data, train=25, seed=0), 1).notes == ()


def test_classes_that_validation_rows_have_alone_are_said() -> None:
    sorted_labels(20, 20, 1)
    found = [
        shards.plan(FilesSettings(**NPY, train=41 - 5, rows=41, seed=seed, validation=0.2), 1).notes
        for seed in range(40)
    ]
    assert any(
        notes and notes[0].startswith("no training row is of the class of some validation rows: 7")
        for notes in found
    )


def test_test_rows_of_one_class_are_said() -> None:
    plan = shards.plan(FilesSettings(**sorted_labels(20, 20), train=30), 1)
    (note,) = plan.notes
    assert note.startswith("all 10 test rows are of class 6; data.seed: 0 shuffles")


def test_labels_are_looked_at_until_all_classes_are_seen() -> None:
    """Not all rows of a large dataset."""
    source, settings = Few([0, 1] * 50_000), DataSettings(name="few", train=90_000)
    looked: list[int] = []
    labels = source.labels
    source.labels = lambda part, rows: (looked.append(len(rows)), labels(part, rows))[1]  # type: ignore[method-assign]
    lacking_classes(FewSet(), settings, source, split(FewSet(), settings, source))
    assert sum(looked) < 5000


def test_more_classes_than_half_of_the_rows_are_said() -> None:
    def doubts(**settings: Any) -> list[str]:
        notes = shards.plan(FilesSettings(**settings), 1).notes
        return [note for note in notes if "different labels" in note]

    np.save("y.npy", np.arange(40))
    doubt = "40 different labels in 40 rows: are these the labels?"
    assert doubts(**NPY) == [f"data.y: y.npy holds {doubt}"]
    first = table("all.csv", np.column_stack([np.arange(40.0), X]))
    assert doubts(x=first, label="first") == [f"data.x: the first column of all.csv holds {doubt}"]
    np.save("y.npy", np.arange(40) // 2)
    assert doubts(**NPY) == []


# --- files that do not fit


@pytest.mark.parametrize("key", PAIR)
def test_a_file_that_is_not_there_is_named_with_its_key(key: str, here: Path) -> None:
    message = refusal(**{**PAIR, key: "nowhere.npy"})
    assert message.startswith(f"data.{key}: there is no file nowhere.npy (looked in {here}")


REFUSED: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "no labels": (lambda: {"x": "X.npy"}, "data.y: labels are needed"),
    "a table without labels": (lambda: {"x": table("X.csv", X)}, "data.y: labels are needed"),
    "no test features": (lambda: {**NPY, "y_test": "y_test.npy"}, "x_test and y_test belong together"),
    "no test labels": (lambda: {**NPY, "x_test": "X_test.npy"}, "x_test and y_test belong together"),
    "labels twice": (lambda: {**NPY, "label": "first"}, "data.label: data.y names a file of labels already"),
    "other test features": (
        lambda: {**PAIR, "x_test": array("2.npy", X_TEST[:, :2])},
        "data.x_test: 2.npy does not have the 3 features",
    ),
    "large labels": (
        lambda: {"x": table("a.csv", np.column_stack([X, np.where(Y == 1, 1e20, 0)])), "label": "last"},
        "data.x: the last column of a.csv: row ",
    ),
    "nothing but labels": (
        lambda: {"x": table("labels.csv", Y[:, None]), "label": "first", "test": 0.2},
        "data.x: labels.csv has no column besides its labels",
    ),
    "a folder": (
        lambda: Path("folder.npy").mkdir() or {"x": "folder.npy", "y": "y.npy"},
        "data.x: there is no file folder.npy",
    ),
}


@pytest.mark.parametrize("problem", REFUSED)
def test_settings_and_files_that_do_not_fit_are_refused(problem: str) -> None:
    settings, message = REFUSED[problem]
    assert message in refusal(**settings())


@pytest.mark.parametrize(("key", "rows"), [("y", 39), ("y", 41), ("y_test", 6), ("y_test", 40)])
def test_every_row_needs_one_label(key: str, rows: int) -> None:
    np.save("other.npy", np.ones(rows, int))
    message = refusal(**{**PAIR, key: "other.npy"})
    assert f"data.{key}: other.npy has shape ({rows},)" in message
    assert f"each of {40 if key == 'y' else 7} rows" in message


@pytest.mark.parametrize("wrong", [1.5, np.nan, np.inf, -np.inf, 0.1])
@pytest.mark.parametrize("key", ["y", "y_test"])
def test_labels_are_whole_numbers(key: str, wrong: float) -> None:
    labels = {"y": Y, "y_test": Y_TEST}[key].astype(float)
    labels[-1] = wrong
    np.save("labels.npy", labels)
    assert f"data.{key}: labels.npy holds labels that are not whole" in refusal(**{**PAIR, key: "labels.npy"})
    source = table("labels.csv", labels[:, None])
    assert f"data.{key}: labels.csv" in refusal(**{**PAIR, key: source})


@pytest.mark.parametrize(
    "labels",
    [
        np.array([-3, 7]),
        np.array([False, True]),
        np.array([0, 2**63 - 1], dtype=np.uint64),
        np.array([-(2**63), 2**63 - 1]),
        np.array([-(2.0**53), 2.0**53]),
        np.array([0, 2.0**24], dtype=np.float32),
        np.array([0, 7], dtype=np.longdouble),
        np.array([-0.0, 1.0], dtype=np.float16),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("error")
def test_whole_labels_of_any_type_are_what_they_are(labels: Array) -> None:
    np.save("y.npy", labels[np.arange(40) % 2])
    source = opened(**NPY)
    assert list(source.labels_known) == [int(label) for label in labels]
    assert source.labels("train", range(3)).tolist() == [int(labels[row % 2]) for row in range(3)]


@pytest.mark.parametrize(
    ("label", "digits"),
    [
        (np.float64(1e20), 53),
        (np.float64(-1e20), 53),
        (np.float64(2.0**53 + 2), 53),
        (np.float32(2.0**25), 24),
        (np.longdouble(2.0**63), 62),
        (np.uint64(2**63), 63),
        (np.uint64(2**64 - 1), 63),
    ],
)
@pytest.mark.filterwarnings("error")
def test_labels_that_would_become_others_are_refused(label: Any, digits: int) -> None:
    labels = np.zeros(40, dtype=label.dtype)
    labels[3] = label
    np.save("y.npy", labels)
    message = refusal(**NPY)
    assert (
        f"data.y: y.npy: row 3 has the label {label}; labels of {label.dtype} are exact below 2^{digits}"
        in message
    )


def test_words_and_rows_of_ones_get_a_cure() -> None:
    np.save("y.npy", np.array(["cat", "dog"])[(Y > 0).astype(int)])
    assert "data.y: y.npy: expected numbers, got <U3; give every word a number: 0, 1, ..." in refusal(**NPY)
    np.save("y.npy", np.eye(3)[(Y + 1) // 2])
    assert "data.y: y.npy has shape (40, 3); expected one label" in refusal(**NPY)
    assert "argmax(axis=1)" in refusal(**NPY)
    table("y.csv", np.arange(41.0)[:, None] % 2)
    assert "the first line is taken as a label" in refusal(x="X.npy", y="y.csv")


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize(("key", "part", "row"), [("x", "train", 13), ("x_test", "test", 4)])
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_features_are_finite_and_the_row_is_named(key: str, part: str, row: int, wrong: float) -> None:
    x = {"x": X, "x_test": X_TEST}[key].copy()
    x[row, 2] = wrong
    np.save("wrong.npy", x)
    message = refusal(**{**PAIR, key: "wrong.npy"})
    assert f"wrong.npy: row {row} of the {part} set" in message


def as_npy(values: Array, save: Callable[..., None] = np.save) -> bytes:
    stream = io.BytesIO()
    save(stream, values)
    return stream.getvalue()


NO_TABLES: dict[str, tuple[str, bytes]] = {
    "nothing": ("a.npy", b""),
    "text": ("a.npy", b"hello"),
    "truncated": ("a.npy", as_npy(X)[:-5]),
    "a truncated header": ("a.npy", as_npy(X)[:50]),
    "objects": ("a.npy", as_npy(np.array([{}, None], dtype=object))),
    "an archive": ("a.npy", as_npy(X, np.savez)),
    "words": ("a.npy", as_npy(np.array(["a", "b"]))),
    "complex numbers": ("a.npy", as_npy(X.astype(complex))),
    "records": ("a.npy", as_npy(np.zeros(40, dtype=[("a", "f4")]))),
    "dates": ("a.npy", as_npy(np.zeros(40, dtype="M8[s]"))),
    "one number": ("a.npy", as_npy(np.array(5.0))),
    "one axis": ("a.npy", as_npy(X[0])),
    "no rows": ("a.npy", as_npy(X[:0])),
    "no features": ("a.npy", as_npy(X[:, :0])),
    "a word": ("a.csv", b"1,2,3\n4,x,6\n"),
    "no gzip": ("a.csv.gz", b"1,2,3\n"),
    "truncated gzip": ("a.csv.gz", gzip.compress(b"1,2,3\n" * 900)[:-9]),
    "another ending": ("a.txt", b"1,2,3\n"),
    "npz": ("a.npz", as_npy(X, np.savez)),
}


@pytest.mark.parametrize("kind", NO_TABLES)
def test_what_is_no_table_of_numbers_is_refused_with_its_key(kind: str) -> None:
    name, content = NO_TABLES[kind]
    Path(name).write_bytes(content)
    message = refusal(x=name, y="y.npy")
    assert "data.x" in message
    assert name in message


@pytest.mark.parametrize("key", PAIR)
@pytest.mark.parametrize("path", ["~nosuchuser/X.npy", "x" * 300 + ".npy"])
def test_a_path_that_cannot_be_is_named_with_its_key(key: str, path: str) -> None:
    assert refusal(**{**PAIR, key: path}).startswith(f"data.{key}: {path!r} cannot be looked for: ")


# --- training


def test_training_on_ones_own_files(here: Path, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two classes that a line separates are learnt from a table, end to end."""
    x = np.random.default_rng(3).standard_normal((300, 4))
    table("all.csv.gz", np.column_stack([x, x[:, 0] + x[:, 1] > 0]), "a,b,c,d,class\n")
    Path("mine.yaml").write_text(
        "name: mine\ndata: {name: files, x: all.csv.gz, label: last}\nnetwork: {layers: [8]}\nloss: squared\n"
        "methods: {admm: {}}\nstop: {iterations: 15}\n"
    )
    before = {path: path.stat().st_mtime_ns for path in here.iterdir()}
    with pytest.raises(SystemExit) as end:
        main(["train", "mine.yaml", "--json"])
    captured = capsys.readouterr()
    assert end.value.code in (0, None), captured.err
    (run,) = json.loads(captured.out)["runs"]
    assert run["best_test_accuracy"] > 0.85
    after = {path: path.stat().st_mtime_ns for path in here.iterdir() if path != results}
    assert after == before
