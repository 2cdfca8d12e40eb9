"""``admmctl new``: what it sees in a file, which method it takes, what it writes, what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from admmctl.errors import MissingExtra, UserError
from admmctl.experiment.advice import ADVICE, COUNTS, Case, advise
from admmctl.experiment.config import load
from admmctl.experiment.template import Wish, blocks_of, text
from admmctl.launch.options import check_options
from admmctl.methods.method import methods
from admmctl.methods.trees import libraries
from admmctl.runs.new import Made, check_free, look, make, write


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=[True, False], ids=["trees", "no trees"])
def trees(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the extra is installed, as far as anybody here can tell."""

    def require(library: str) -> None:
        if not request.param:
            raise MissingExtra("this method needs LightGBM")

    monkeypatch.setattr(libraries, "require", require)
    return bool(request.param)


def table(name: str = "own.csv", rows: int = 600, classes: int = 3, heading: str = "a,b,c,kind\n") -> Wish:
    """A CSV of three features, whose classes can be told apart, with its label last."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, classes, rows)
    x = generator.normal(size=(rows, 3)) + labels[:, None]
    lines = (",".join(f"{value:.3f}" for value in row) + f",{label}" for row, label in zip(x, labels, strict=True))
    Path(name).write_text(heading + "\n".join(lines) + "\n")
    return Wish(name, label="last")


def images(rows: int = 300) -> Wish:
    """Images of 10 x 10 pixels in an array of three dimensions, and their labels."""
    generator = np.random.default_rng(0)
    np.save("X.npy", generator.integers(0, 256, (rows, 10, 10)).astype(np.uint8))
    np.save("y.npy", np.arange(rows) % 2)
    return Wish("X.npy", y="y.npy")


def made(wish: Wish) -> tuple[dict[str, Any], Made]:
    content, found = make(wish, look(wish), check_options(wish.cores, oversubscribe=True))
    return yaml.safe_load(content), found


# --- what it sees


def test_it_counts_rows_features_and_classes():
    seen = look(table())
    assert (seen.rows_train, seen.rows_test, seen.features) == (480, 120, 3)
    assert sorted(seen.classes) == [0, 1, 2]
    assert sum(seen.classes.values()) == 480
    assert (seen.constant, seen.pixels, seen.tails) == (0, False, False)
    assert "taken as a heading" in seen.notes[0]


def test_images_are_known_by_whole_numbers_up_to_255():
    seen = look(images())
    assert (seen.features, seen.pixels) == (100, True)
    np.save("X.npy", np.load("X.npy") / 255)
    assert not look(Wish("X.npy", y="y.npy")).pixels


def test_constant_features_and_long_tails_are_seen_beside_a_large_offset():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(600, 3)) + 1e9
    x[:, 1] = 7
    np.save("X.npy", x)
    np.save("y.npy", np.arange(600) % 2)
    seen = look(Wish("X.npy", y="y.npy"))
    assert (seen.constant, seen.tails) == (1, False)
    x[3, 2] += 1000
    np.save("X.npy", x)
    assert look(Wish("X.npy", y="y.npy")).tails


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("\n", ",\n", 1), "line 2 has 4 cells"),
        (lambda text: text + "1.0,,2.0,1\n", "line 602, column 2 is empty"),
        (lambda text: text + "1.0,nan,2.0,1\n", "no finite number"),
        (lambda text: text + "1.0,1.0,2.0,setosa\n", "give words numbers first"),
        (lambda text: text + "1.0,1.0,2.0,0.5\n", "labels that are not whole numbers"),
        (lambda text: "", "it is empty"),
    ],
)
def test_what_is_wrong_with_a_file_is_named_with_its_place(change, words):
    wish = table()
    file = Path(wish.x)
    file.write_text(change(file.read_text()))
    with pytest.raises(UserError, match=r"own\.csv") as refused:
        look(wish)
    assert words in str(refused.value)


def test_a_number_that_is_missing_in_an_array_is_found_in_the_test_rows_too():
    wish = images()
    x = np.ones((4, 2))
    x[2, 1] = np.nan
    np.save("X_test.npy", x)
    np.save("y_test.npy", np.arange(4) % 2)
    np.save("X.npy", np.random.default_rng(0).normal(size=(300, 2)))
    with pytest.raises(UserError, match=r"X_test.npy: row 2 of the test set holds a NaN"):
        look(Wish(wish.x, y=wish.y, x_test="X_test.npy", y_test="y_test.npy"))


def test_rows_of_one_class_are_refused():
    wish = table(classes=1)
    with pytest.raises(UserError, match="at least two classes"):
        look(wish)


def test_without_labels_it_says_which_options_name_them():
    with pytest.raises(UserError, match="--label first or last, for a column of a CSV, or --labels FILE"):
        look(Wish("own.csv"))


# --- which method it takes


def case(**changes: Any) -> Case:
    return Case(**{"counts": "accuracy", "rows": 5000, "pixels": False, "cores": 1, "trees": True, **changes})


@pytest.mark.parametrize(
    ("changes", "method"),
    [
        ({}, "trees"),
        ({"counts": "seconds"}, "trees"),
        ({"trees": False}, "graph-admm"),
        ({"pixels": True}, "graph-admm"),
        ({"cores": 2}, "graph-admm"),
        ({"counts": "memory"}, "adam"),
        ({"rows": 99}, "linear"),
    ],
)
def test_the_table_of_advice(changes, method):
    assert advise(case(**changes)).method == method


def test_advice_names_methods_that_there_are_and_always_has_one():
    seen = look(table())
    assert {advice.method for advice in ADVICE} <= set(blocks_of(seen)) <= set(methods)
    for counts in COUNTS:
        for trees in (False, True):
            assert advise(case(counts=counts, trees=trees, rows=10**6, cores=96))


# --- what it writes


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("data", [table, images])
def test_every_file_is_a_sound_experiment_whose_first_method_can_run(data, counts, trees):
    wish = Wish(**{**vars(data()), "counts": counts})
    document, found = made(wish)
    experiment = load(document)
    assert next(iter(experiment.runs)) == found.method
    assert list(document["methods"]) == found.methods
    assert {"linear", "adam", "graph-admm"} <= set(found.methods)
    assert set(document["sweep"]["space"]) == set(found.methods)
    assert document["data"].get("stream", False) == (counts == "memory")
    assert document["data"]["scale"] == ("centred" if data is images else "standard")
    if not trees and counts != "memory":
        assert any("needs LightGBM" in note for note in found.notes)


def test_comments_say_why():
    wish = table()
    content, _ = make(Wish(**{**vars(wish), "target": 0.9}), look(wish), check_options(1))
    lines = content.splitlines()
    assert max(map(len, lines)) <= 120
    for words in (
        "480 training rows, 120 test rows, 3 features",
        "taken as a heading",
        "What counts: accuracy",
        "# Why:",
    ):
        assert any(line.startswith("#") and words in line for line in lines), words
    assert "  target: 0.9 " in content


@pytest.mark.parametrize(
    "name", ['a "b" \\ # : {.csv', "blank name.csv", "línea.csv", "line\nbreak.csv", "-1.csv", "null.csv"]
)
def test_whatever_a_file_is_called_the_experiment_reads_it(name):
    document, _ = made(table(name))
    assert document["data"]["x"] == name
    assert load(document).runs


def test_methods_that_cannot_run_on_so_many_cores_are_left_out_and_named():
    pytest.importorskip("lightgbm")
    document, found = made(Wish(**{**vars(table()), "cores": 2}))
    assert "trees" not in document["methods"]
    assert found.notes[-1].startswith("trees is left out: method trees runs on one rank")


def test_a_method_that_is_named_comes_first():
    document, found = made(Wish(**{**vars(table()), "method": "linear"}))
    assert (next(iter(document["methods"])), found.method) == ("linear", "linear")
    with pytest.raises(UserError, match="--method sgd: valid: trees, graph-admm, adam, linear"):
        made(Wish(**{**vars(table()), "method": "sgd"}))


@pytest.mark.parametrize("rows", [12, 60, 499, 500, 3000])
def test_batches_and_held_back_rows_fit_the_rows(rows):
    document, _ = made(table(rows=rows, classes=2))
    assert ("validation" in document["data"]) == (0.8 * rows >= 500)
    assert document["methods"]["graph-admm"]["batch"] <= round(0.8 * rows)
    assert load(document).runs


def test_a_file_that_is_there_stays_unless_it_is_forced():
    wish = table()
    seen = look(wish)
    content, found = make(wish, seen, check_options(1))
    place = Path("own.yaml")
    place.write_text("mine\n")
    with pytest.raises(UserError, match=r"own\.yaml is there already"):
        write(content, found, place, False, wish)
    assert place.read_text() == "mine\n"
    written = write(content, found, place, True, wish)
    assert place.read_text() == content
    assert written.next[0] == "admmctl train own.yaml"
    assert json.loads(json.dumps(vars(written)["next"]))


@pytest.mark.parametrize("name", ["own.txt", "own", "folder/.yaml.bak"])
def test_an_output_that_is_no_yaml_is_refused(name):
    with pytest.raises(UserError, match=r"ends in \.yaml"):
        check_free(Path(name), force=True)


@pytest.mark.parametrize("name", ["", "a b", "../up", "x" * 101])
def test_names_that_are_no_folders_are_refused(name):
    with pytest.raises(UserError, match="--name"):
        Wish("own.csv", name=name).experiment()


def test_the_name_comes_from_the_file():
    for file, name in (("data/iris.csv.gz", "iris"), ("X.npy", "X"), ("two words.csv", "two-words")):
        assert Wish(file).experiment() == name


def test_the_text_is_the_same_every_time():
    wish = table()
    seen = look(wish)
    advice = advise(case())
    assert text(wish, seen, advice, ["trees", "linear"]) == text(wish, seen, advice, ["trees", "linear"])
