"""``admmctl runs export``: runs written in a format that other programs read, into a folder."""

import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from admmctl.errors import MissingExtra, UserError
from admmctl.files import move, write_json
from admmctl.registry import suggest
from admmctl.report.export import mlflow_store, tables, tensorboard
from admmctl.report.export.source import Exported, read_all
from admmctl.runs.recorded import Recorded

# Each writes runs into an empty folder, which is then moved to the second. ``say`` is told how many are done.
Say = Callable[[int, int], None]
FORMATS: dict[str, Callable[[list[Exported], Path, Path, Say], None]] = {
    "csv": tables.write_csv_files,
    "parquet": tables.write_parquet_files,
    "tensorboard": tensorboard.write,
    "mlflow": mlflow_store.write,
}
# What a format is written with: modules, and the packages that have them. The extra has the format's name.
_NEEDS = {
    "parquet": {"pyarrow": "pyarrow"},
    "tensorboard": {"tensorboardX": "tensorboardX"},
    "mlflow": {
        "mlflow": "mlflow-skinny",
        "sqlalchemy": "sqlalchemy",
        "alembic": "alembic",
        "sqlparse": "sqlparse",
    },
}
RECORD = ".admmctl-export.json"  # in the folder of an export: the files that it wrote


def export(recorded: list[Recorded], form: str, output: Path, force: bool, say: Say) -> dict[str, Any]:
    """Write runs to the folder ``output``; what was written, and how to read it.

    What lies there already stays, but for files that an earlier export wrote; with ``force`` files of the same
    names are replaced, whoever wrote them. Raises UserError before anything is written.
    """
    if form == "mlflow-file":
        raise UserError("--format mlflow-file: is no more; use --format mlflow, a store in SQLite")
    if form not in FORMATS:
        raise UserError(f"--format {form}{suggest(form, list(FORMATS))}")
    _require(form)
    if not recorded:
        raise UserError("there are no runs to export; start one with: admmctl train swissroll")
    if output.name in ("", "..", "-") or (output.exists() and not output.is_dir()):
        raise UserError(f"--output {output}: expected a folder, which is made when it is not there")
    runs = read_all(recorded)
    try:
        with _beside(output) as staged:
            FORMATS[form](runs, staged, output.absolute(), say)
            files = _publish(staged, output, force)
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written ({error.strerror}); name another folder") from None
    return {"format": form, "output": str(output), "runs": [run.name for run in runs], "files": files}


def _require(form: str) -> None:
    """Raises MissingExtra where a format's packages are not here."""
    missing = [name for module, name in _NEEDS.get(form, {}).items() if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingExtra(
            f"--format {form} needs {', '.join(missing)}; install with: pip install 'admmctl[{form}]'"
        )


@contextmanager
def _beside(output: Path) -> Iterator[Path]:
    """An empty folder on the same disk, gone at the end."""
    parent = output.resolve().parent  # a link may lead to another disk
    parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=parent, prefix=f".{output.name}.", suffix=".part"))
    try:
        umask = os.umask(0)
        os.umask(umask)
        staged.chmod(0o777 & ~umask)  # mkdtemp makes folders private
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _publish(staged: Path, output: Path, force: bool) -> list[str]:
    """Move all files to where they belong: all, or none when one would replace another's file."""
    files = sorted(str(path.relative_to(staged)) for path in staged.rglob("*") if path.is_file())
    ours = _recorded(output)
    foreign = [name for name in files if os.path.lexists(output / name) and name not in ours]
    if foreign and not force:
        more = f" and {len(foreign) - 1:,} more" if len(foreign) > 1 else ""
        raise UserError(
            f"--output {output}: {foreign[0]}{more} is there already, and no export of admmctl wrote it; "
            "name another folder, or replace it with --force"
        )
    write_json(staged / RECORD, {"files": sorted({*ours, *files})})
    if not output.exists():
        staged.rename(output.resolve())  # a link to nothing stays a link
        return files
    # Before what it names: an export that is cut off can then be done again.
    for name in (RECORD, *files):
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        move(staged / name, output / name)
    return files


def _recorded(output: Path) -> set[str]:
    """The files that earlier exports wrote there."""
    try:
        return set(map(str, json.loads((output / RECORD).read_text())["files"]))
    except (OSError, ValueError, KeyError, TypeError):
        return set()
