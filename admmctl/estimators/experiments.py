"""A classifier and its rows as files: an experiment of which ``admmctl train`` makes recorded runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admmctl.errors import UserError
from admmctl.experiment.config import load
from admmctl.experiment.yamlfile import dump
from admmctl.files import atomic

_MOST_CLASSES = 20  # that a comment names


def numbered(y: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int64]:
    """Labels (rows,) as numbers: their places in ``classes``. Raises UserError for one that is none of them."""
    places = {label: number for number, label in enumerate(classes.tolist())}
    found, which = np.unique(y, return_inverse=True)
    for label in found.tolist():
        if label not in places:
            raise UserError(f"y_test: {label!r} is no class of y; valid: {', '.join(map(repr, places))}")
    numbers: NDArray[np.int64] = np.array([places[label] for label in found.tolist()])[which]
    return numbers


def write(
    folder: Path, title: str, classes: NDArray[Any], arrays: Mapping[str, NDArray[Any]], document: dict[str, Any]
) -> Path:
    """Write the ``arrays`` of a ``files`` dataset, by their keys there, and the experiment; returns its file.

    Raises UserError where the folder has an experiment already, or cannot be written, and where it is wrong.
    """
    file = folder / "experiment.yaml"
    if file.exists():
        raise UserError(f"{file} is there already: name another folder, or remove it")
    paths = {key: folder / f"{key}.npy" for key in arrays}
    data = {"name": "files", **{key: str(path) for key, path in paths.items()}, **document["data"]}
    document = {"name": folder.resolve().name, **document, "data": data}
    load(document)
    named = ", ".join(f"{number} {label!r}" for number, label in enumerate(classes[:_MOST_CLASSES].tolist()))
    more = ", ..." if len(classes) > _MOST_CLASSES else ""
    comments = [f"{title}, by save_experiment.", f"  admmctl train {file}", f"Classes: {named}{more}"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for key, path in paths.items():
            with atomic(path, "wb") as array:
                np.save(array, arrays[key], allow_pickle=False)
        with atomic(file) as text:  # the last one: where it is, all are
            text.write("".join(f"# {line}\n" for line in comments) + dump(document))
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); name another folder") from None
    return file
