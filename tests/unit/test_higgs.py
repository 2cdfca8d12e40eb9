"""HIGGS: every wrapping of the CSV, exact numbers, the last rows as test, resuming, damage by its line."""

import dataclasses
import gzip
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.http_server import zipped
from support.small_data import (
    Array,
    all_rows,
    compressed,
    cut,
    entries,
    files_in,
    get,
    higgs_text,
    higgs_values,
    manifest,
    refusal,
    sha256,
    stopped,
)

from admmctl.data import higgs
from admmctl.data.dataset import DataSettings
from admmctl.data.higgs import Higgs, read_chunks
from admmctl.data.prepared import StoredSource
from admmctl.errors import DataError, UserError

VALUES = higgs_values(100)
TEXT = higgs_text(VALUES)


@pytest.fixture
def mine(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for the user's files; ten rows are parsed at a time."""
    (tmp_path / "mine").mkdir()
    monkeypatch.setattr(higgs, "_CHUNK", 10)
    return tmp_path / "mine"


def opened() -> StoredSource:
    return Higgs().open(DataSettings(name="higgs"))


def prepared() -> Array:
    """All rows as they were prepared, label first, the test rows last."""
    x, labels = (np.concatenate(both) for both in zip(all_rows(opened()), all_rows(opened(), "test"), strict=True))
    return np.column_stack([labels, x]).astype(np.float32)


def as_csv(folder: Path, text: bytes = TEXT) -> Path:
    (folder / "mine.csv").write_bytes(text)
    return folder / "mine.csv"


def as_gz(folder: Path, text: bytes = TEXT) -> Path:
    return compressed(folder / "HIGGS.csv.gz", text)


def as_gz_in_pieces(folder: Path, text: bytes = TEXT) -> Path:
    """As pigz and bgzip write them."""
    path = folder / "pieces.gz"
    path.write_bytes(b"".join(gzip.compress(text[at : at + 5000]) for at in range(0, len(text), 5000)))
    return path


def archive(path: Path, *members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    path.write_bytes(zipped(*members, method=method))
    return path


def as_zip(folder: Path, text: bytes = TEXT) -> Path:
    """As UCI has it now."""
    return archive(folder / "higgs.zip", ("HIGGS.csv.gz", gzip.compress(text)))


def as_zip_of_csv(folder: Path, text: bytes = TEXT) -> Path:
    members = ("readme.txt", b"hello"), ("folder/HIGGS.CSV", text)
    return archive(folder / "csv.zip", *members, method=zipfile.ZIP_DEFLATED)


WRAPPINGS = [as_csv, as_gz, as_gz_in_pieces, as_zip, as_zip_of_csv]


# --- what is read


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_the_rows_are_read_exactly_from_every_wrapping(mine: Path, wrap: Callable[[Path], Path]) -> None:
    messages = get("higgs", wrap(mine))
    assert any("is not the official" in line for line in messages)
    source = opened()
    assert (source.features, source.labels_known) == (28, (0, 1))
    assert (source.rows("train"), source.rows("test")) == (96, 4)
    np.testing.assert_array_equal(prepared(), VALUES)
    assert entries(mine.parent / "datasets") == ["higgs"]


@pytest.mark.parametrize("end", [b"\r\n", b"\n\n", b""])
def test_other_ends_of_lines_make_no_difference(mine: Path, end: bytes) -> None:
    text = TEXT.replace(b"\n", end) if end == b"\r\n" else TEXT[:-1] + end
    get("higgs", as_csv(mine, text))
    np.testing.assert_array_equal(prepared(), VALUES)


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.just(28)),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_every_number_is_the_one_that_was_written(
    tmp_path_factory: pytest.TempPathFactory, features: Array
) -> None:
    """Down to subnormal numbers, and the sign of a zero."""
    path = tmp_path_factory.getbasetemp() / "numbers.csv"
    path.write_bytes(higgs_text(np.column_stack([np.ones(len(features), np.float32), features])))
    ((x, y),) = read_chunks(path, skip=0, limit=None)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(np.ascontiguousarray(x).view(np.uint32), features.view(np.uint32))
    assert y.tolist() == [1] * len(features)


@pytest.mark.parametrize("beside", [0, 1, -1])
def test_numbers_halfway_between_two_floats_are_rounded_as_numpy_does(tmp_path: Path, beside: int) -> None:
    floats = higgs_values(300, seed=1)
    halfway = (floats.astype(float) + np.nextafter(floats, np.float32(np.inf))) / 2
    numbers = np.nextafter(halfway, beside * np.inf) if beside else halfway
    numbers[:, 0] = 1
    text = higgs_text(numbers)
    (tmp_path / "halves.csv").write_bytes(text)
    ((x, _),) = read_chunks(tmp_path / "halves.csv", skip=0, limit=None)
    expected = np.loadtxt(text.decode().splitlines(), delimiter=",").astype(np.float32)
    np.testing.assert_array_equal(x, expected[:, 1:])


@pytest.mark.parametrize(("rows", "test"), [(22, 1), (23, 1), (43, 1), (44, 2), (66, 3), (100, 4)])
def test_the_last_twenty_second_part_tests(mine: Path, rows: int, test: int) -> None:
    get("higgs", as_gz(mine, higgs_text(VALUES[:rows])))
    source = opened()
    assert (source.rows("train"), source.rows("test")) == (rows - test, test)
    x, labels = all_rows(source, "test")
    np.testing.assert_array_equal(x, VALUES[rows - test : rows, 1:])
    assert labels == VALUES[rows - test : rows, 0].tolist()


def test_both_sets_share_one_pair_of_arrays(mine: Path) -> None:
    get("higgs", as_gz(mine))
    assert entries(mine.parent / "datasets" / "higgs") == ["manifest.json", "x_all.npy", "y_all.npy"]
    parts = manifest("higgs")["parts"]
    assert (parts["train"]["start"], parts["test"]["start"]) == (0, 96)
    for part, rows in (("train", VALUES[:96]), ("test", VALUES[96:])):
        counts = np.bincount(rows[:, 0].astype(int), minlength=2).tolist()
        assert parts[part]["label_counts"] == {str(n): count for n, count in enumerate(counts) if count}


def test_the_file_is_read_as_a_stream(mine: Path) -> None:
    """The first rows of a truncated file come before its end is met."""
    path = as_gz(mine, TEXT * 20)
    cut(path, path.stat().st_size // 2)
    chunks = read_chunks(path, skip=0, limit=None)
    x, _ = next(chunks)
    np.testing.assert_array_equal(x, VALUES[:10, 1:])
    with pytest.raises(DataError, match="truncated"):
        list(chunks)


# --- fewer rows


def test_rows_takes_the_first_and_another_number_prepares_anew(mine: Path) -> None:
    for rows in (22, 100, 30, 55):
        get("higgs", as_gz(mine), rows=rows)
        np.testing.assert_array_equal(prepared(), VALUES[:rows])
        assert manifest("higgs")["options"] == {"rows": rows}


def test_rows_beyond_what_is_asked_for_are_not_looked_at(mine: Path) -> None:
    get("higgs", as_csv(mine, TEXT + b"nonsense\n"), rows=100)
    np.testing.assert_array_equal(prepared(), VALUES)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [(101, "HIGGS.csv.gz has 100 rows"), (21, "22 or more"), (1, "22 or more"), (0, "22 or more"), (-5, "22 or")],
)
def test_more_rows_than_there_are_and_too_few_to_test_on_are_refused(mine: Path, rows: int, problem: str) -> None:
    message = refusal("higgs", as_gz(mine), rows=rows)
    assert f"--rows {rows}" in message
    assert problem in message
    assert not (mine.parent / "datasets").exists() or entries(mine.parent / "datasets") == []


def test_a_file_with_too_few_rows_to_test_on_is_refused(mine: Path) -> None:
    path = as_gz(mine, higgs_text(VALUES[:21]))
    message = refusal("higgs", path)
    assert str(path) in message
    assert "21 rows" in message
    assert entries(mine.parent / "datasets") == []


# --- going on after a stop


@pytest.mark.parametrize("after", [1, 4, 9, 10])
@pytest.mark.parametrize("wrap", [as_csv, as_gz, as_zip])
@pytest.mark.parametrize("rows", [None, 95])
def test_a_preparation_goes_on_where_it_stopped(
    mine: Path, monkeypatch: pytest.MonkeyPatch, wrap: Callable[[Path], Path], after: int, rows: int | None
) -> None:
    path = wrap(mine)
    get("higgs", path, rows=rows)
    unbroken = files_in(mine.parent / "datasets")
    stopped("higgs", after, path, rows=rows, force=True)
    skipped: list[int] = []
    read = higgs.read_chunks
    monkeypatch.setattr(
        higgs, "read_chunks", lambda *a, skip, limit: skipped.append(skip) or read(*a, skip, limit)
    )
    get("higgs", path, rows=rows)
    assert skipped == [min(10 * after, rows or 100)]
    assert files_in(mine.parent / "datasets") == unbroken


@pytest.mark.parametrize("place", [5, 30])
def test_an_empty_line_does_not_make_a_stopped_preparation_end_otherwise(mine: Path, place: int) -> None:
    """It may be passed over or refused, but with and without a stop alike."""
    lines = TEXT.splitlines(keepends=True)
    path = as_csv(mine, b"".join([*lines[:place], b"\n", *lines[place:]]))

    def outcome(after: int | None) -> Any:
        try:
            if after is not None:
                stopped("higgs", after, path, force=True)
            get("higgs", path, force=True)
        except UserError:
            return "refused"
        return prepared().tolist()

    assert outcome(after=3) == outcome(after=None)


# --- files that are not in order


def line(number: int, change: Callable[[bytes], bytes]) -> bytes:
    """The text with one line, counted from 1, changed."""
    lines = TEXT.splitlines()
    lines[number - 1] = change(lines[number - 1])
    return b"\n".join(lines) + b"\n"


def cell(value: bytes) -> Callable[[bytes], bytes]:
    """Put another value into the seventh column."""
    return lambda text: b",".join([*text.split(b",")[:6], value, *text.split(b",")[7:]])


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a label of 2": lambda text: b"2" + text[1:],
    "a label of -1": lambda text: b"-1" + text[1:],
    "half a label": lambda text: b"0.5" + text[20:],
    "a label that is no number": lambda text: b"s" + text[20:],
    "text": cell(b"abc"),
    "nothing": cell(b""),
    "a NaN": cell(b"NaN"),
    "an infinity": cell(b"-inf"),
    "a number too large for single precision": cell(b"1e300"),
    "a column too few": lambda text: text.rsplit(b",", 1)[0],
    "half of its columns": lambda text: text[: len(text) // 2],
    "a column too many": lambda text: text + b",1.0",
    "a comma at the end": lambda text: text + b",",
    "other separators": lambda text: text.replace(b",", b";"),
    "a quotation mark": lambda text: b'"' + text,
    "a null character": cell(b"1.0\x00"),
    "letters of another alphabet": cell("１".encode()),
    "bytes that are no text": cell(b"\xff\xfe"),
}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_in_the_official_layout_is_named_with_its_line(mine: Path, damage: str) -> None:
    for number in (1, 7, 57, 100):
        path = as_gz(mine, line(number, DAMAGES[damage]))
        assert re.search(rf"{re.escape(str(path))}.*\bline {number}\b", refusal("higgs", path))
        assert entries(mine.parent / "datasets") == []


@pytest.mark.parametrize("damage", ["a label of 2", "text", "a column too many"])
def test_lines_are_counted_from_the_start_of_the_file_after_a_stop_too(mine: Path, damage: str) -> None:
    path = as_gz(mine, line(57, DAMAGES[damage]))
    stopped("higgs", 4, path)
    assert re.search(r"\bline 57\b", refusal("higgs", path))


@pytest.mark.parametrize("columns", [1, 28, 30])
def test_another_number_of_columns_is_named(mine: Path, columns: int) -> None:
    values = np.column_stack([VALUES, VALUES])[:, :columns]
    message = refusal("higgs", as_gz(mine, higgs_text(values)))
    assert f"line 1: {columns} columns; expected the label and 28 features" in message


def test_a_heading_is_refused(mine: Path) -> None:
    heading = b"label," + b",".join(b"f%d" % n for n in range(28)) + b"\n"
    assert "line 1:" in refusal("higgs", as_csv(mine, heading + TEXT))


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_an_empty_file_is_named(mine: Path, wrap: Callable[[Path, bytes], Path]) -> None:
    path = wrap(mine, b"")
    message = refusal("higgs", path)
    assert str(path) in message
    assert "empty" in message or "truncated" in message
    assert entries(mine.parent / "datasets") == []


@pytest.mark.parametrize("wrap", [as_gz, as_zip, as_zip_of_csv])
def test_a_truncated_file_is_named_wherever_it_ends(mine: Path, wrap: Callable[[Path], Path]) -> None:
    path = wrap(mine)
    whole = path.read_bytes()
    for keep in [0, 1, 15, *range(40, len(whole), len(whole) // 12), len(whole) - 1]:
        path.write_bytes(whole[:keep])
        message = refusal("higgs", path)
        assert str(path) in message
        assert entries(mine.parent / "datasets") == []


@pytest.mark.parametrize("wrap", [as_gz, as_zip, as_zip_of_csv])
def test_a_wrong_byte_anywhere_in_a_compressed_file_is_noticed(mine: Path, wrap: Callable[[Path], Path]) -> None:
    path = wrap(mine)
    whole = path.read_bytes()
    for at in range(120, len(whole) - 200, len(whole) // 20):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        assert str(path) in refusal("higgs", path)
    assert entries(mine.parent / "datasets") == []


@pytest.mark.parametrize("name", ["HIGGS.csv.gz", "higgs.zip"])
def test_a_web_page_under_the_name_of_the_file_is_named(mine: Path, name: str) -> None:
    (mine / name).write_bytes(b"<html>please log in</html>")
    assert str(mine / name) in refusal("higgs", mine / name)


# --- the archive that UCI has it in


@pytest.fixture
def official(mine: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The file of this module is the official one."""
    content = gzip.compress(TEXT, mtime=0)
    file = dataclasses.replace(higgs.FILE, bytes=len(content), sha256=sha256(content))
    monkeypatch.setattr(higgs, "FILE", file)
    monkeypatch.setattr(Higgs, "card", dataclasses.replace(Higgs.card, files=(file,)))
    return content


@pytest.mark.parametrize("name", ["higgs.zip", "280 (1).ZIP", "download"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_of_the_official_file_is_official_whatever_its_name(
    mine: Path, official: bytes, name: str, method: int
) -> None:
    path = archive(mine / name, ("a/HIGGS.csv.gz", official), ("__MACOSX/a/._HIGGS.csv.gz", b"x"), method=method)
    messages = get("higgs", path)
    assert messages == [f"higgs is ready in {mine.parent / 'datasets' / 'higgs'}"]
    assert manifest("higgs")["official"] is True
    assert manifest("higgs")["sources"][0]["sha256"] == sha256(official)
    np.testing.assert_array_equal(prepared(), VALUES)


def test_an_archive_of_another_file_is_used_and_said_not_to_be_official(mine: Path, official: bytes) -> None:
    messages = get("higgs", archive(mine / "higgs.zip", ("HIGGS.csv.gz", gzip.compress(higgs_text(VALUES[:50])))))
    assert "higgs.zip is not the official HIGGS.csv.gz" in messages[0]
    assert manifest("higgs")["official"] is False


@pytest.mark.parametrize("place", ["higgs", "."])
def test_a_mirror_folder_may_have_the_archive(mine: Path, official: bytes, place: str) -> None:
    (mine / place).mkdir(exist_ok=True)
    path = archive(mine / place / "higgs.zip", ("HIGGS.csv.gz", official))
    get("higgs", mirror=str(mine))
    assert manifest("higgs")["official"] is True
    archive(path, ("HIGGS.csv.gz", gzip.compress(TEXT[:-1])))
    assert f"{path} is damaged: the sha256 of its content is" in refusal("higgs", mirror=str(mine), force=True)
    np.testing.assert_array_equal(prepared(), VALUES)


def test_files_that_cannot_be_it_are_refused(mine: Path) -> None:
    (mine / "higgs.parquet").touch()
    (mine / "folder.csv").mkdir()
    for paths in ([mine / "higgs.parquet"], [as_csv(mine), as_gz(mine)], [mine]):
        assert "one file that ends in .csv.gz, .csv or .zip" in refusal("higgs", *paths)
    assert "there is no such file" in refusal("higgs", mine / "nowhere.csv")
    assert str(mine / "folder.csv") in refusal("higgs", mine / "folder.csv")


# --- the real thing


@pytest.mark.data
def test_the_real_rows(mirror: Path, results: Path, tmp_path: Path) -> None:
    path = mirror / "higgs" / "HIGGS-35296.csv.gz"
    get("higgs", path, rows=35_296)
    source = opened()
    assert (source.rows("train"), source.rows("test")) == (33_692, 1_604)
    found = prepared()
    assert found.shape == (35_296, 29)
    assert round(float(found[:, 0].mean()), 3) == 0.529
    with gzip.open(path, "rt") as lines:
        expected = np.loadtxt(lines, delimiter=",", dtype=np.float64).astype(np.float32)
    np.testing.assert_array_equal(found, expected)
