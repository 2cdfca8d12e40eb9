"""Predictions from saved weights, held against a forward pass done by hand."""

import csv
import gzip
import io
import itertools
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from admmctl.errors import UserError
from admmctl.runs.predict import load_model, predict_rows, predictions_csv
from admmctl.runs.record import RunFolder

Array = np.ndarray[Any, Any]
FEATURES = 4


def saved(
    folder: Path, sizes: tuple[int, ...] = (FEATURES, 5, 3, 1), bias: bool = True, activation: str = "relu"
) -> Path:
    """A run folder with random weights, as a run leaves it; classes are 7 and 3 (and 5)."""
    generator = np.random.default_rng(7)
    weights = {
        iterate: [
            generator.normal(size=(k_next, k + bias)).astype(np.float32) for k, k_next in itertools.pairwise(sizes)
        ]
        for iterate in ("best", "final")
    }
    constants = {
        "bias": bias,
        "activation": activation,
        "loss": "squared",
        "classes": np.array([7, 3, 5][: max(sizes[-1], 2)]),
        "threshold": 0.5,
        "input_shift": generator.normal(size=sizes[0]).astype(np.float32),
        "input_factor": generator.uniform(0.5, 2.0, sizes[0]).astype(np.float32),
        "best_iteration": 4,
        "final_iteration": 9,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text("name: tiny\n")
    RunFolder(folder).write_weights(weights, constants)
    return folder


def by_hand(folder: Path, x: Array, iterate: str = "best") -> Array:
    """The outputs for rows ``x``, in float64, from the arrays of weights.npz alone; shape (rows, outputs)."""
    with np.load(folder / "weights.npz", allow_pickle=False) as file:
        arrays = {name: array.astype(float) if array.dtype.kind == "f" else array for name, array in file.items()}
    a = (x - arrays["input_shift"]) * arrays["input_factor"]
    layers = sum(name.startswith(f"{iterate}_W") for name in arrays)
    for l in range(1, layers + 1):
        z = a @ arrays[f"{iterate}_W{l}"].T
        if bool(arrays["bias"]):
            z = z + arrays[f"{iterate}_b{l}"]
        a = np.clip(z, 0, 1) if str(arrays["activation"]) == "hard-sigmoid" else np.maximum(z, 0)
    return z


@pytest.fixture
def rows() -> Array:
    return np.random.default_rng(2).normal(0.0, 4.0, size=(50, FEATURES))


def written(folder: Path, x: Array) -> Path:
    np.save(folder / "rows.npy", x)
    return folder / "rows.npy"


@pytest.mark.parametrize("iterate", ["best", "final"])
@pytest.mark.parametrize(
    ("sizes", "bias", "activation"),
    [
        ((FEATURES, 5, 3, 1), True, "relu"),
        ((FEATURES, 5, 3, 1), False, "relu"),
        ((FEATURES, 6, 1), True, "hard-sigmoid"),
        ((FEATURES, 1), True, "relu"),
        ((FEATURES, 5, 2), True, "relu"),
        ((FEATURES, 5, 3), False, "hard-sigmoid"),
    ],
)
def test_predictions_are_those_of_a_forward_pass_by_hand(
    tmp_path: Path, rows: Array, sizes: tuple[int, ...], bias: bool, activation: str, iterate: str
) -> None:
    folder = saved(tmp_path / "run", sizes, bias, activation)
    result = predict_rows(folder, written(tmp_path, rows), iterate)
    outputs = by_hand(folder, rows, iterate)
    np.testing.assert_allclose(result["outputs"], outputs, rtol=1e-4, atol=1e-5)
    chosen = (outputs[:, 0] > 0.5).astype(int) if sizes[-1] == 1 else outputs.argmax(axis=1)
    assert result["labels"] == np.array([7, 3, 5])[chosen].tolist()
    assert len(set(result["labels"])) > 1
    assert result["iteration"] == {"best": 4, "final": 9}[iterate]
    assert (result["folder"], result["iterate"]) == (str(folder), iterate)


def test_best_and_final_are_different_weights(tmp_path: Path, rows: Array) -> None:
    folder = saved(tmp_path / "run")
    best, final = (predict_rows(folder, written(tmp_path, rows), which) for which in ("best", "final"))
    assert best["outputs"] != final["outputs"]


def test_another_word_for_the_iterate_is_refused(tmp_path: Path, rows: Array) -> None:
    with pytest.raises(UserError, match="--iterate last: valid: best, final"):
        predict_rows(saved(tmp_path / "run"), written(tmp_path, rows), "last")


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, np.uint8, bool])
def test_numbers_of_any_type_are_fine(tmp_path: Path, kind: type) -> None:
    folder = saved(tmp_path / "run")
    x = (np.arange(12).reshape(3, FEATURES) % 3).astype(kind)
    result = predict_rows(folder, written(tmp_path, x), "best")
    np.testing.assert_allclose(result["outputs"], by_hand(folder, x.astype(float)), rtol=1e-4, atol=1e-5)


def test_csv_gives_what_npy_gives(tmp_path: Path, rows: Array) -> None:
    folder = saved(tmp_path / "run")
    np.savetxt(tmp_path / "rows.csv", rows, delimiter=",")
    from_csv = predict_rows(folder, tmp_path / "rows.csv", "best")
    from_npy = predict_rows(folder, written(tmp_path, rows), "best")
    assert from_csv["labels"] == from_npy["labels"]
    np.testing.assert_allclose(from_csv["outputs"], from_npy["outputs"], rtol=1e-6)


def test_a_single_row_may_be_one_dimensional(tmp_path: Path, rows: Array) -> None:
    folder = saved(tmp_path / "run")
    all_rows = predict_rows(folder, written(tmp_path, rows), "best")
    one = predict_rows(folder, written(tmp_path, rows[0]), "best")
    assert one["labels"] == all_rows["labels"][:1]
    (tmp_path / "one.csv").write_text("1,2,3,4\n")
    assert len(predict_rows(folder, tmp_path / "one.csv", "best")["labels"]) == 1


def test_images_are_flattened(tmp_path: Path, rows: Array) -> None:
    folder = saved(tmp_path / "run")
    flat = predict_rows(folder, written(tmp_path, rows), "best")
    assert predict_rows(folder, written(tmp_path, rows.reshape(-1, 2, 2)), "best") == flat


def test_no_rows_give_no_labels(tmp_path: Path) -> None:
    result = predict_rows(saved(tmp_path / "run"), written(tmp_path, np.empty((0, FEATURES))), "best")
    assert (result["labels"], result["outputs"]) == ([], [])


def table(path: Path, x: Array, heading: str = "") -> Path:
    """A CSV of ``x``, with every digit."""
    text = heading + "".join(",".join(map(repr, row)) + "\n" for row in x.tolist())
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def refused(folder: Path, inputs: Path) -> str:
    with pytest.raises(UserError) as caught:
        predict_rows(folder, inputs, "best")
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith(f"--input {inputs}: ")
    return str(caught.value)


@pytest.mark.parametrize("block", [7, 65_536])
def test_rows_with_a_nan_or_an_infinity_are_named(
    tmp_path: Path, rows: Array, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("admmctl.runs.predict._BLOCK", block)
    rows[1, 2], rows[30, 0], rows[49, 3] = math.nan, math.inf, -math.inf
    message = refused(saved(tmp_path / "run"), written(tmp_path, rows))
    assert "3 of 50 rows with a NaN or an infinity: rows 1, 30, 49 (" in message


def test_of_many_such_rows_the_first_are_named(tmp_path: Path, rows: Array) -> None:
    message = refused(saved(tmp_path / "run"), written(tmp_path, rows * math.nan))
    assert "50 of 50 rows with a NaN or an infinity: rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... (" in message


@pytest.mark.parametrize("cell", ["nan", "inf", "", "1e999", "?"])
def test_such_a_cell_of_a_table_is_named(tmp_path: Path, rows: Array, cell: str) -> None:
    lines = table(tmp_path / "rows.csv", rows, "a,b,c,d\n").read_text().splitlines()
    lines[3] = f"1,{cell},3,4"
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    assert "line 4, column 2 " in refused(saved(tmp_path / "run"), tmp_path / "rows.csv")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["rows.npy", "rows.csv"])
def test_rows_that_are_too_large_once_scaled_are_named(tmp_path: Path, rows: Array, name: str) -> None:
    folder = saved(tmp_path / "run")
    rows[1], rows[7, 2] = 1e300, -1e39
    message = refused(folder, written(tmp_path, rows) if name.endswith("npy") else table(tmp_path / name, rows))
    assert "2 of 50 rows with numbers too large for float32 once they are scaled: rows 1, 7 (" in message


@pytest.mark.parametrize("heading", ["", "a,b,c,d\n", '"width (m)","b","c","d"\n', "\ufeffa,b,c,d\r\n"])
@pytest.mark.parametrize("end", [".csv", ".csv.gz"])
def test_a_table_is_read_as_for_training(tmp_path: Path, rows: Array, heading: str, end: str) -> None:
    folder, said = saved(tmp_path / "run"), []
    usual = predict_rows(folder, written(tmp_path, rows), "best")
    place = table(tmp_path / f"rows{end}", rows, heading)
    found = predict_rows(folder, place, "best", say=said.append)
    assert (found["labels"], found["outputs"]) == (usual["labels"], usual["outputs"])
    assert [text.partition(": ")[2].split(":")[0] for text in said] == ["line 1 is taken as a heading"] * bool(
        heading
    )


def test_numbers_in_quotation_marks_are_numbers(tmp_path: Path, rows: Array) -> None:
    folder = saved(tmp_path / "run")
    (tmp_path / "rows.csv").write_text("\n".join(",".join(f'"{v!r}"' for v in row) for row in rows.tolist()))
    usual = predict_rows(folder, written(tmp_path, rows), "best")
    assert predict_rows(folder, tmp_path / "rows.csv", "best")["labels"] == usual["labels"]


def test_a_column_of_labels_is_one_too_many(tmp_path: Path, rows: Array) -> None:
    place = table(tmp_path / "rows.csv", np.column_stack([rows, rows[:, 0] > 0]), "a,b,c,d,label\n")
    message = refused(saved(tmp_path / "run"), place)
    assert "expected rows of 4 features, got an array of shape (50, 5); leave the column of labels out" in message


def test_the_index_that_pandas_writes_is_refused(tmp_path: Path, rows: Array) -> None:
    place = table(tmp_path / "rows.csv", np.column_stack([np.arange(50), rows[:, 1:]]), ",b,c,d\n")
    assert "to_csv(index=False)" in refused(saved(tmp_path / "run"), place)


def test_a_scaling_in_float64_is_done_in_float64(tmp_path: Path, rows: Array) -> None:
    """Runs on numbers of 64 bits keep such a one: a large offset stays where it was."""
    folder = saved(tmp_path / "run")
    usual = predict_rows(folder, written(tmp_path, rows), "best")
    with np.load(folder / "weights.npz") as file:
        arrays = dict(file)
    shift = arrays["input_shift"].astype(np.float64)
    factor = arrays["input_factor"].astype(np.float64)
    x = rows + 2.0**31
    np.savez(folder / "weights.npz", **{**arrays, "input_shift": shift + 2.0**31, "input_factor": factor})
    found = predict_rows(folder, written(tmp_path, x), "best")
    assert found["labels"] == usual["labels"]
    np.testing.assert_allclose(found["outputs"], usual["outputs"], rtol=1e-3, atol=1e-4)


def test_more_rows_than_a_block_holds(tmp_path: Path, rows: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(tmp_path / "run")
    whole = predict_rows(folder, written(tmp_path, rows), "best")
    monkeypatch.setattr("admmctl.runs.predict._BLOCK", 7)
    blocks = predict_rows(folder, written(tmp_path, rows), "best")
    assert blocks["labels"] == whole["labels"]
    np.testing.assert_allclose(blocks["outputs"], whole["outputs"], rtol=1e-5, atol=1e-6)


# --- inputs that are not rows of features


class Trap:
    """An object that leaves a trace when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return open, ("trapped", "w")


INPUTS: dict[str, Callable[[Path], tuple[str, str]]] = {}


def bad_input(write: Callable[[Path], tuple[str, str]]) -> Callable[[Path], tuple[str, str]]:
    INPUTS[write.__name__] = write
    return write


def _array(name: str, x: Any, words: str) -> None:
    def write(folder: Path) -> tuple[str, str]:
        np.save(folder / "x.npy", x)
        return "x.npy", words

    INPUTS[name] = write


def _bytes(name: str, file: str, content: bytes, words: str) -> None:
    def write(folder: Path) -> tuple[str, str]:
        (folder / file).write_bytes(content)
        return file, words

    INPUTS[name] = write


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((3, FEATURES)))
    return buffer.getvalue()


def _npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros((3, FEATURES)))
    return buffer.getvalue()


_array("too wide", np.zeros((3, 5)), r"expected rows of 4 features, got an array of shape \(3, 5\)")
_array("too narrow", np.zeros((3, 3)), r"expected rows of 4 features, got an array of shape \(3, 3\)")
_array("one number", np.array(1.0), r"expected rows of 4 features, got an array of shape \(\)")
_array("too many axes", np.zeros((2, 3, 3)), "expected rows of 4 features")
_array("words", np.array([["a", "b", "c", "d"]]), "expected numbers, got <U1")
_array("complex", np.zeros((2, 4), dtype=complex), "expected numbers, got complex128")
_array("dates", np.zeros((2, 4), dtype="datetime64[s]"), "expected numbers")
_array("records", np.zeros(4, dtype=[("a", "f4")]), "expected numbers")
_array("objects", np.array([[Trap()] * 4], dtype=object), "x.npy: ")
_bytes("a pickle", "x.npy", b"\x80\x04N.", "x.npy: ")
_bytes("empty npy", "x.npy", b"", "x.npy: ")
_bytes("cut npy", "x.npy", _npy()[:-8], "x.npy: ")
_bytes("cut header", "x.npy", _npy()[:40], "x.npy: ")
_bytes("npz under another name", "x.npy", _npz(), "x.npy: ")
_bytes("cut npz under another name", "x.npy", _npz()[:60], "x.npy: ")
_bytes("ragged csv", "x.csv", b"1,2,3,4\n1,2,3\n", "cannot be read as numbers")
_bytes("empty csv", "x.csv", b"", "x.csv: ")
_bytes("binary csv", "x.csv", b"\xff\xfe\x00\x01", "cannot be read as numbers")
_bytes("narrow csv", "x.csv", b"1,2,3\n", "expected rows of 4 features")
_bytes("another ending", "x.txt", b"1,2,3,4\n", r"ends in \.npy, \.csv or \.csv\.gz")


@bad_input
def missing(folder: Path) -> tuple[str, str]:
    return "nowhere.npy", "there is no such file"


@bad_input
def a_name_that_is_too_long(folder: Path) -> tuple[str, str]:
    return "x" * 300 + ".npy", "x.npy: "


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("case", INPUTS)
def test_inputs_that_are_no_rows_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    name, words = INPUTS[case](tmp_path)
    with pytest.raises(UserError, match=words) as caught:
        predict_rows(saved(tmp_path / "run"), tmp_path / name, "best")
    assert f"--input {tmp_path / name}" in str(caught.value)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "trapped").exists()


# --- weights that are missing or damaged


def test_a_run_without_weights_did_not_finish(tmp_path: Path, rows: Array) -> None:
    folder = saved(tmp_path / "run")
    (folder / "weights.npz").unlink()
    with pytest.raises(UserError, match=r"has no weights\.npz: the run did not finish"):
        predict_rows(folder, written(tmp_path, rows), "best")


def _flip(content: bytes) -> bytes:
    place = content.index(b"best_W1.npy") + 180
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


def _other_compression(content: bytes) -> bytes:
    place = content.index(b"PK\x01\x02") + 10
    return content[:place] + b"\x63\x00" + content[place + 2 :]


def _pickled() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        inner = io.BytesIO()
        np.save(inner, np.array([Trap()], dtype=object))
        file.writestr("bias.npy", inner.getvalue())
    return buffer.getvalue()


WEIGHTS: dict[str, Callable[[bytes], bytes]] = {
    "cut in half": lambda content: content[: len(content) // 2],
    "cut at the end": lambda content: content[:-10],
    "empty": lambda content: b"",
    "a flipped byte": _flip,
    "an unknown compression": _other_compression,
    "something else": lambda content: b"hello",
    "one array": lambda content: _npy(),
    "other arrays": lambda content: _npz(),
    "a pickle": lambda content: _pickled(),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_damaged_weights_are_told_by_name(
    tmp_path: Path, rows: Array, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = saved(tmp_path / "run")
    path = folder / "weights.npz"
    path.write_bytes(WEIGHTS[case](path.read_bytes()))
    with pytest.raises(UserError, match="damaged") as caught:
        load_model(folder, "best")
    assert str(path) in str(caught.value)
    assert not (tmp_path / "trapped").exists()


# --- the answer as CSV


def test_the_answer_is_a_line_per_row(tmp_path: Path, rows: Array, capsys: pytest.CaptureFixture[str]) -> None:
    folder = saved(tmp_path / "run", (FEATURES, 5, 3))
    result = predict_rows(folder, written(tmp_path, rows), "best")
    predictions_csv(result, None)
    printed = capsys.readouterr().out
    lines = list(csv.DictReader(printed.splitlines()))
    assert [int(line["label"]) for line in lines] == result["labels"]
    outputs = [[float(line[f"output_{number}"]) for number in range(3)] for line in lines]
    np.testing.assert_allclose(outputs, result["outputs"], rtol=1e-6)

    predictions_csv(result, tmp_path / "answer.csv")
    assert (tmp_path / "answer.csv").read_text() == printed
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("place", ["nowhere/answer.csv", "run", "rows.npy/answer.csv"])
def test_an_answer_that_cannot_be_written_is_a_clear_error(tmp_path: Path, rows: Array, place: str) -> None:
    result = predict_rows(saved(tmp_path / "run"), written(tmp_path, rows), "best")
    with pytest.raises(UserError, match="cannot be written") as caught:
        predictions_csv(result, tmp_path / place)
    assert f"--output {tmp_path / place}" in str(caught.value)
