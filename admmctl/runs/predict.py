"""Predictions from the weights that a run saved."""

import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from admmctl.data.scaling import Scaling
from admmctl.data.tables import read_numbers
from admmctl.errors import DataError, MissingExtra, UserError
from admmctl.files import STDOUT, atomic
from admmctl.methods.trees.boosting import Ensemble, saved_ensemble
from admmctl.model.convolution import Stack
from admmctl.model.network import Network, Weights, classify, gated_forward
from admmctl.model.recurrent import Recurrence
from admmctl.runs.recorded import Recorded

_BLOCK = 65_536  # rows predicted at a time
_MOST_NAMED = 10  # rows, in a message


@dataclass(frozen=True)
class Model:
    """A trained network with what its inputs and outputs mean."""

    network: Network
    W: Weights
    iteration: int
    classes: NDArray[np.int64]
    threshold: float
    scaling: Scaling
    gates: NDArray[np.floating] | None = None
    trees: Ensemble | None = None  # which make the outputs in the place of the network

    def predict(self, x: NDArray[Any], gated: bool = False) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
        """Labels, shape (rows,), and outputs, shape (rows, outputs), of unscaled inputs (rows, features).

        With ``gated`` they are those of the gated network, the convex model, instead of the ReLU network.
        Raises DataError where rows hold a NaN, an infinity or what is too large once it is scaled.
        """
        labels, outputs, bad = [], [], []
        # Maps of all pixels for every filter are large, and so are all steps.
        plain = self.network.convolution is None and self.network.recurrence is None
        block = _BLOCK if plain else self.network.block()
        for low in range(0, len(x), block):
            rows = x[low : low + block]
            samples = np.ones((len(rows), self.network.sizes[0] + 1), dtype=np.float32)
            self.scaling.apply(rows, samples[:, :-1])
            bad += (low + np.flatnonzero(~np.isfinite(samples).all(axis=1))).tolist()
            if bad:
                continue  # all of them are named
            a0 = samples.T
            with np.errstate(over="ignore", invalid="ignore"):  # such a row gets the class -1
                if gated and self.gates is not None:
                    z = gated_forward(self.network, self.W, self.gates, a0)
                else:
                    z = (self.trees or self.network).forward(self.W, a0)
            chosen = classify(z, self.threshold)
            labels.append(np.where(chosen < 0, -1, self.classes[chosen]))
            outputs.append(z.T)
        if bad:
            raise DataError(_refusal(x, bad))
        if not labels:
            return np.empty(0, np.int64), np.empty((0, self.network.sizes[-1]), np.float32)
        return np.concatenate(labels), np.concatenate(outputs)


def load_model(folder: Path, iterate: str) -> Model:
    """The 'best' or 'final' iterate of a run. Raises UserError when there is none."""
    path = folder / "weights.npz"
    if not path.is_file():
        _, block = Recorded(folder).method_block
        if block.get("library") == "sklearn":
            raise UserError(
                f"{folder} has no weights.npz: scikit-learn's trees could only be saved as a pickle, which is "
                "neither written nor read here; train with library: lightgbm"
            )
        raise UserError(f"{folder} has no weights.npz: the run did not finish")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            arrays = {name: npy.read_array(archive.open(f"{name}.npy"), allow_pickle=False) for name in names}
        return _model(arrays, iterate)
    except MissingExtra:
        raise
    except (OSError, ValueError, EOFError, KeyError, RuntimeError, UserError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged: {error}; train again") from None


def _model(arrays: dict[str, NDArray[Any]], iterate: str) -> Model:
    bias = bool(arrays["bias"])
    if "trees" in arrays:
        return _trees(arrays, iterate)
    W: Weights = []
    while (matrix := arrays.get(f"{iterate}_W{len(W) + 1}")) is not None:
        W.append(np.column_stack([matrix, arrays[f"{iterate}_b{len(W) + 1}"]]) if bias else matrix)
    features, stack = len(arrays["input_shift"]), None
    if "convolution" in arrays:
        stack = Stack.unpack(arrays["convolution"].tolist())
    dense = [len(W_l) for W_l in W[len(stack.filters) if stack else 0 :]]
    if not dense or (stack and math.prod(stack.image) != features):
        raise ValueError("its weights do not fit together")
    hidden, outputs, recurrence = dense[:-1], dense[-1], None
    if "recurrence" in arrays:
        recurrence, hidden = Recurrence.unpack(arrays["recurrence"].tolist(), dense[0], features), []
    activation = arrays["activation"].tolist()
    network = Network.build(features, hidden, outputs, activation, bias, None, stack, recurrence)
    if [W_l.shape for W_l in W] != network.shapes:
        raise ValueError("its weights do not fit together")
    return Model(
        network,
        W,
        int(arrays[f"{iterate}_iteration"]),
        arrays["classes"],
        float(arrays["threshold"]),
        Scaling.unpack(arrays),
        arrays.get("gates"),
    )


def _trees(arrays: dict[str, NDArray[Any]], iterate: str) -> Model:
    """The same for boosted trees, whose weights are a number of rounds. Raises MissingExtra."""
    features, classes, W = len(arrays["input_shift"]), len(arrays["classes"]), [arrays[f"{iterate}_W1"]]
    outputs = int(arrays["outputs"])
    network = Network.build(features, [], outputs, "relu", False)
    ensemble = saved_ensemble(arrays["trees"].tobytes().decode(), arrays["start"], outputs, int(W[0].item()))
    if classes != max(2, outputs):
        raise ValueError("its trees do not fit together")
    return Model(
        network,
        W,
        int(arrays[f"{iterate}_iteration"]),
        arrays["classes"],
        float(arrays["threshold"]),
        Scaling.unpack(arrays),
        trees=ensemble,
    )


def _refusal(x: NDArray[Any], bad: list[int]) -> str:
    """The message about the ``bad`` rows of ``x``, shape (rows, features), which cannot be predicted."""
    finite = [bool(np.isfinite(x[row]).all()) for row in bad]
    parts = []
    for large, what in (
        (False, "a NaN or an infinity"),
        (True, "numbers too large for float32 once they are scaled"),
    ):
        rows = [str(row) for row, is_finite in zip(bad, finite, strict=True) if is_finite == large]
        if rows:
            few = ", ".join(rows[:_MOST_NAMED]) + (", ..." if len(rows) > _MOST_NAMED else "")
            word = "row" if len(rows) == 1 else "rows"
            parts.append(f"{len(rows):,} of {len(x):,} rows with {what}: {word} {few}")
    return "; ".join(parts) + " (the first is row 0); nothing was predicted"


def read_inputs(path: Path, features: int, say: Callable[[str], None] = lambda text: None) -> NDArray[Any]:
    """Rows to predict: an .npy array, or a CSV with a row per line. Raises UserError.

    ``say`` is called with what a person should know about the reading: which line was taken as a heading.
    """
    try:
        if not path.is_file():
            raise UserError(f"--input {path}: there is no such file")
        table = read_numbers(path)
    except (OSError, ValueError) as error:
        raise UserError(f"--input {path}: cannot be looked for: {error}") from None
    except DataError as error:
        raise UserError(f"--input {path}: {error}") from None
    x = table.values
    for text in table.notes:
        say(f"{path}: {text}")
    if x.ndim > 2 and int(np.prod(x.shape[1:])) == features:
        x = x.reshape(len(x), features)
    if x.ndim == 1 and len(x) == features:
        x = x[None, :]
    if x.ndim != 2 or x.shape[1] != features:
        hint = ""
        if x.ndim == 2 and x.shape[1] == features + 1:
            hint = "; leave the column of labels out, if there is one"
        raise UserError(
            f"--input {path}: expected rows of {features} features, got an array of shape {x.shape}{hint}"
        )
    return x


@dataclass(frozen=True)
class Predictions:
    """Labels and outputs for the rows of a file, by an iterate of the run in ``folder``."""

    folder: str
    iterate: str  # best or final
    iteration: int
    labels: list[int]
    outputs: list[list[float]]


def predict_rows(
    folder: Path, inputs: Path, iterate: str, gated: bool = False, say: Callable[[str], None] = lambda text: None
) -> Predictions:
    """Labels and outputs for every row of ``inputs``; ``say`` as in ``read_inputs``. Raises UserError."""
    if iterate not in ("best", "final"):
        raise UserError(f"--iterate {iterate}: valid: best, final")
    model = load_model(folder, iterate)
    if gated and model.gates is None:
        raise UserError(f"--gated: {folder} has no gated network; runs of convex-admm have one")
    if Recorded(folder).made_up:
        say(f"{folder} was trained on made-up data")
    x = read_inputs(inputs, model.network.sizes[0], say)
    try:
        labels, outputs = model.predict(x, gated)
    except DataError as error:
        raise UserError(f"--input {inputs}: {error}") from None
    return Predictions(str(folder), iterate, model.iteration, labels.tolist(), outputs.astype(float).tolist())


def predictions_csv(result: Predictions, output: Path | None) -> None:
    """A line per row: label, outputs; to ``output``, or to standard output: '-'. Raises UserError."""
    width = len(result.outputs[0]) if result.outputs else 1
    heading = "label," + ",".join(f"output_{number}" for number in range(width))
    rows = zip(result.labels, result.outputs, strict=True)
    lines = [heading, *(f"{label}," + ",".join(f"{value:.7g}" for value in values) for label, values in rows)]
    if output is None or output == STDOUT:
        print("\n".join(lines))
        return
    try:
        with atomic(output) as file:
            file.write("\n".join(lines) + "\n")
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written: {error.strerror}") from None
