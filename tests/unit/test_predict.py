"""Predictions from saved weights, held against a forward pass done by hand."""

import csv
import gzip
import io
import itertools
import math
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from admmctl.errors import UserError
from admmctl.runs.predict import Predictions, load_model, predict_rows, predictions_csv
from admmctl.runs.record import RunFolder

Array = np.ndarray[Any, Any]
FEATURES = 4


def saved(
    folder: Path,
    sizes: tuple[int, ...] = (FEATURES, 5, 3, 1),
    bias: bool = True,
    activation: str | list[str] = "relu",
) -> Path:
    """A run folder with random weights, as a run leaves it; classes are 7 and 3 (and 5)."""
    generator = np.random.default_rng(7)
    shapes = [(k_next, k + bias) for k, k_next in itertools.pairwise(sizes)]
    weights = {
        iterate: [generator.normal(size=shape).astype(np.float32) for shape in shapes]
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
        name = arrays["activation"][l - 1] if arrays["activation"].ndim and l < layers else arrays["activation"]
        a = np.clip(z, 0, 1) if str(name) == "hard-sigmoid" else np.maximum(z, 0)
    return z


@pytest.fixture
def rows() -> Array:
    return np.random.default_rng(2).normal(0.0, 4.0, size=(50, FEATURES))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved(tmp_path / "run")


def written(folder: Path, x: Array) -> Path:
    np.save(folder / "rows.npy", x)
    return folder / "rows.npy"


def predicted(folder: Path, x: Array, iterate: str = "best") -> Predictions:
    return predict_rows(folder, written(folder.parent, x), iterate)


@pytest.mark.parametrize(
    ("sizes", "bias", "activation", "iterate"),
    [
        ((FEATURES, 5, 3, 1), True, "relu", "best"),
        ((FEATURES, 5, 3, 1), True, "relu", "final"),
        ((FEATURES, 5, 3, 1), False, "relu", "best"),
        ((FEATURES, 6, 1), True, "hard-sigmoid", "best"),
        ((FEATURES, 1), True, "relu", "best"),
        ((FEATURES, 5, 2), True, "relu", "best"),
        ((FEATURES, 5, 3), False, "hard-sigmoid", "final"),
        ((FEATURES, 5, 3, 1), True, ["relu", "hard-sigmoid"], "best"),
    ],
)
def test_predictions_are_those_of_a_forward_pass_by_hand(
    tmp_path: Path, rows: Array, sizes: tuple[int, ...], bias: bool, activation: str | list[str], iterate: str
) -> None:
    folder = saved(tmp_path / "run", sizes, bias, activation)
    result = predicted(folder, rows, iterate)
    outputs = by_hand(folder, rows, iterate)
    np.testing.assert_allclose(result.outputs, outputs, rtol=1e-4, atol=1e-5)
    chosen = (outputs[:, 0] > 0.5).astype(int) if sizes[-1] == 1 else outputs.argmax(axis=1)
    assert result.labels == np.array([7, 3, 5])[chosen].tolist()
    assert len(set(result.labels)) > 1
    assert result.iteration == {"best": 4, "final": 9}[iterate]
    assert (result.folder, result.iterate) == (str(folder), iterate)
    assert predicted(folder, rows, {"best": "final", "final": "best"}[iterate]).outputs != result.outputs


def test_another_iterate_is_refused(folder: Path, rows: Array) -> None:
    with pytest.raises(UserError, match="--iterate last: valid: best, final"):
        predicted(folder, rows, "last")


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, np.uint8, bool])
def test_numbers_of_any_type_are_fine(folder: Path, kind: type) -> None:
    x = (np.arange(12).reshape(3, FEATURES) % 3).astype(kind)
    result = predicted(folder, x)
    np.testing.assert_allclose(result.outputs, by_hand(folder, x.astype(float)), rtol=1e-4, atol=1e-5)


def test_a_single_row_may_be_one_dimensional(folder: Path, rows: Array) -> None:
    assert predicted(folder, rows[0]).labels == predicted(folder, rows).labels[:1]
    (folder / "one.csv").write_text("1,2,3,4\n")
    assert len(predict_rows(folder, folder / "one.csv", "best").labels) == 1


def test_images_are_flattened(folder: Path, rows: Array) -> None:
    assert predicted(folder, rows.reshape(-1, 2, 2)) == predicted(folder, rows)


def test_no_rows_give_no_labels(folder: Path) -> None:
    result = predicted(folder, np.empty((0, FEATURES)))
    assert (result.labels, result.outputs) == ([], [])


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
    folder: Path, rows: Array, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("admmctl.runs.predict._BLOCK", block)
    rows[1, 2], rows[30, 0], rows[49, 3] = math.nan, math.inf, -math.inf
    message = refused(folder, written(folder, rows))
    assert "3 of 50 rows with a NaN or an infinity: rows 1, 30, 49 (" in message
    message = refused(folder, written(folder, rows * math.nan))
    assert "50 of 50 rows with a NaN or an infinity: rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... (" in message


@pytest.mark.parametrize("cell", ["nan", "inf", "", "1e999", "?"])
def test_such_a_cell_of_a_table_is_named(folder: Path, rows: Array, cell: str) -> None:
    lines = table(folder / "rows.csv", rows, "a,b,c,d\n").read_text().splitlines()
    lines[3] = f"1,{cell},3,4"
    (folder / "rows.csv").write_text("\n".join(lines))
    assert "line 4, column 2 " in refused(folder, folder / "rows.csv")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["rows.npy", "rows.csv"])
def test_rows_that_are_too_large_once_scaled_are_named(folder: Path, rows: Array, name: str) -> None:
    rows[1], rows[7, 2] = 1e300, -1e39
    message = refused(folder, written(folder, rows) if name.endswith("npy") else table(folder / name, rows))
    assert "2 of 50 rows with numbers too large for float32 once they are scaled: rows 1, 7 (" in message


@pytest.mark.parametrize("heading", ["", "a,b,c,d\n", '"width (m)","b","c","d"\n', "\ufeffa,b,c,d\r\n"])
@pytest.mark.parametrize("end", [".csv", ".csv.gz"])
def test_a_table_is_read_as_for_training(folder: Path, rows: Array, heading: str, end: str) -> None:
    notes: list[str] = []
    usual = predicted(folder, rows)
    found = predict_rows(folder, table(folder / f"rows{end}", rows, heading), "best", say=notes.append)
    assert (found.labels, found.outputs) == (usual.labels, usual.outputs)
    texts = [text.partition(": ")[2].split(":")[0] for text in notes]
    assert texts == ["line 1 is taken as a heading"] * bool(heading)


def test_a_column_of_labels_or_an_index_is_one_too_many(folder: Path, rows: Array) -> None:
    message = refused(folder, table(folder / "a.csv", np.column_stack([rows, rows[:, 0] > 0]), "a,b,c,d,label\n"))
    assert "expected rows of 4 features, got an array of shape (50, 5); leave the column of labels out" in message
    pandas = table(folder / "b.csv", np.column_stack([np.arange(50), rows[:, 1:]]), ",b,c,d\n")
    assert "to_csv(index=False)" in refused(folder, pandas)


def test_a_scaling_in_float64_is_done_in_float64(folder: Path, rows: Array) -> None:
    """Runs on numbers of 64 bits keep such a one: a large offset stays where it was."""
    usual = predicted(folder, rows)
    with np.load(folder / "weights.npz") as file:
        arrays = dict(file)
    shift, factor = (arrays[name].astype(np.float64) for name in ("input_shift", "input_factor"))
    np.savez(folder / "weights.npz", **{**arrays, "input_shift": shift + 2.0**31, "input_factor": factor})
    found = predicted(folder, rows + 2.0**31)
    assert found.labels == usual.labels
    np.testing.assert_allclose(found.outputs, usual.outputs, rtol=1e-3, atol=1e-4)


def test_more_rows_than_a_block_holds(folder: Path, rows: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = predicted(folder, rows)
    monkeypatch.setattr("admmctl.runs.predict._BLOCK", 7)
    blocks = predicted(folder, rows)
    assert blocks.labels == whole.labels
    np.testing.assert_allclose(blocks.outputs, whole.outputs, rtol=1e-5, atol=1e-6)


# --- inputs that are not rows of features


class Trap:
    """An object that leaves a trace when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return open, ("trapped", "w")


def as_bytes(save: Callable[..., None], x: Any) -> bytes:
    buffer = io.BytesIO()
    save(buffer, x)
    return buffer.getvalue()


NPY, NPZ = (as_bytes(save, np.zeros((3, FEATURES))) for save in (np.save, np.savez))
# A file, its content, and what is said of it.
INPUTS: dict[str, tuple[str, Any, str]] = {
    "too wide": ("x.npy", np.zeros((3, 5)), r"expected rows of 4 features, got an array of shape \(3, 5\)"),
    "too narrow": ("x.npy", np.zeros((3, 3)), r"expected rows of 4 features, got an array of shape \(3, 3\)"),
    "one number": ("x.npy", np.array(1.0), r"expected rows of 4 features, got an array of shape \(\)"),
    "too many axes": ("x.npy", np.zeros((2, 3, 3)), "expected rows of 4 features"),
    "words": ("x.npy", np.array([["a", "b", "c", "d"]]), "expected numbers, got <U1"),
    "complex": ("x.npy", np.zeros((2, 4), dtype=complex), "expected numbers, got complex128"),
    "dates": ("x.npy", np.zeros((2, 4), dtype="datetime64[s]"), "expected numbers"),
    "records": ("x.npy", np.zeros(4, dtype=[("a", "f4")]), "expected numbers"),
    "objects": ("x.npy", np.array([[Trap()] * 4], dtype=object), "x.npy: "),
    "a pickle": ("x.npy", b"\x80\x04N.", "x.npy: "),
    "empty npy": ("x.npy", b"", "x.npy: "),
    "cut npy": ("x.npy", NPY[:-8], "x.npy: "),
    "cut header": ("x.npy", NPY[:40], "x.npy: "),
    "npz under another name": ("x.npy", NPZ, "x.npy: "),
    "cut npz under another name": ("x.npy", NPZ[:60], "x.npy: "),
    "ragged csv": ("x.csv", b"1,2,3,4\n1,2,3\n", "cannot be read as numbers"),
    "empty csv": ("x.csv", b"", "x.csv: "),
    "binary csv": ("x.csv", b"\xff\xfe\x00\x01", "cannot be read as numbers"),
    "narrow csv": ("x.csv", b"1,2,3\n", "expected rows of 4 features"),
    "another ending": ("x.txt", b"1,2,3,4\n", r"ends in \.npy, \.csv or \.csv\.gz"),
    "missing": ("nowhere.npy", None, "there is no such file"),
    "a name that is too long": ("x" * 300 + ".npy", None, "x.npy: "),
}


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("case", INPUTS)
def test_inputs_that_are_no_rows_are_refused_by_name(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    name, content, expected = INPUTS[case]
    if content is not None:
        np.save(name, content) if isinstance(content, np.ndarray) else Path(name).write_bytes(content)
    assert re.search(expected, refused(folder, tmp_path / name))
    assert not Path("trapped").exists()


# --- weights that are missing or damaged


def test_a_run_without_weights_did_not_finish(folder: Path, rows: Array) -> None:
    (folder / "weights.npz").unlink()
    with pytest.raises(UserError, match=r"has no weights\.npz: the run did not finish"):
        predicted(folder, rows)


def flipped(content: bytes, place: int, bits: int) -> bytes:
    """The content with these bits of one byte turned over."""
    return content[:place] + bytes([content[place] ^ bits]) + content[place + 1 :]


def pickled(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("bias.npy", as_bytes(np.save, np.array([Trap()], dtype=object)))
    return buffer.getvalue()


WEIGHTS: dict[str, Callable[[bytes], bytes]] = {
    "cut in half": lambda content: content[: len(content) // 2],
    "cut at the end": lambda content: content[:-10],
    "empty": lambda content: b"",
    "a flipped byte": lambda content: flipped(content, content.index(b"best_W1.npy") + 180, 0xFF),
    "an unknown compression": lambda content: flipped(content, content.index(b"PK\x01\x02") + 10, 0x63),
    "something else": lambda content: b"hello",
    "one array": lambda content: NPY,
    "other arrays": lambda content: NPZ,
    "a pickle": pickled,
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_damaged_weights_are_told_by_name(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = folder / "weights.npz"
    path.write_bytes(WEIGHTS[case](path.read_bytes()))
    with pytest.raises(UserError, match="damaged") as caught:
        load_model(folder, "best")
    assert str(path) in str(caught.value)
    assert not (tmp_path / "trapped").exists()


# --- the answer as CSV


def test_the_answer_is_a_line_per_row(tmp_path: Path, rows: Array, capsys: pytest.CaptureFixture[str]) -> None:
    folder = saved(tmp_path / "run", (FEATURES, 5, 3))
    result = predicted(folder, rows)
    predictions_csv(result, None)
    printed = capsys.readouterr().out
    lines = list(csv.DictReader(printed.splitlines()))
    assert [int(line["label"]) for line in lines] == result.labels
    outputs = [[float(line[f"output_{number}"]) for number in range(3)] for line in lines]
    np.testing.assert_allclose(outputs, result.outputs, rtol=1e-6)

    predictions_csv(result, tmp_path / "answer.csv")
    assert (tmp_path / "answer.csv").read_text() == printed
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("place", ["nowhere/answer.csv", "run", "rows.npy/answer.csv"])
def test_an_answer_that_cannot_be_written_is_a_clear_error(
    tmp_path: Path, folder: Path, rows: Array, place: str
) -> None:
    result = predicted(folder, rows)
    with pytest.raises(UserError, match="cannot be written") as caught:
        predictions_csv(result, tmp_path / place)
    assert f"--output {tmp_path / place}" in str(caught.value)
