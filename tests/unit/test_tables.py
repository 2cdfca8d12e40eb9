"""Tables of one's own: what is a heading, what is a sample, and where a cell is that is neither."""

import gzip
from pathlib import Path

import numpy as np
import pandas
import pytest

from admmctl.data.tables import Table, read_numbers
from admmctl.errors import DataError

HEADING = "line 1 is taken as a heading: a, b"
COUNTED = b"".join(b"%d,.5\n" % row for row in range(12))


@pytest.fixture(params=[".csv", ".csv.gz"])
def end(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def read(folder: Path, content: bytes, end: str = ".csv") -> Table:
    place = folder / f"table{end}"
    place.write_bytes(gzip.compress(content) if end.endswith(".gz") else content)
    return read_numbers(place)


def refusal(folder: Path, content: bytes, end: str = ".csv") -> str:
    with pytest.raises(DataError) as caught:
        read(folder, content, end)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "notes"),
    [
        (b"1,2.5\n3,4\n", []),
        (b"1,2.5\n3,4", []),
        (b"1,2.5\r\n3,4\r\n", []),
        (b"1,2.5\r3,4\r", []),
        (b" 1 , 2.5\n\t3,4 \n", []),
        (b'"1","2.5"\n"3", "4"\n', []),
        (b"+1,25.e-1\n3E0,4.\n", []),
        (b"a,b\n1,2.5\n3,4\n", [HEADING]),
        (b'"a","b"\n1,2.5\n3,4\n', [HEADING]),
        (b"\xef\xbb\xbf1,2.5\n3,4\n", []),
        (b"\xef\xbb\xbfa,b\n1,2.5\n3,4\n", [HEADING]),
        (b'\xef\xbb\xbf"a",b\r\n1,2.5\r\n3,4\r\n', [HEADING]),
        (b"\n\na,b\n\n1,2.5\n   \n3,4\n\n", [HEADING.replace("1", "3")]),
        (b'"a\nb",c\n1,2.5\n3,4\n', ["line 1 is taken as a heading: a\nb, c"]),
        (b"# a,b\n1,2.5\n3,4\n", ["line 1 is taken as a heading: # a, b"]),
        (b"NA,K\n1,2.5\n3,4\n", ["line 1 is taken as a heading: NA, K"]),
        (b"?,x1\n1,2.5\n3,4\n", ["line 1 is taken as a heading: ?, x1"]),
        (b",x\n1,2.5\n3,4\n".replace(b",x", b"x,"), ["line 1 is taken as a heading: x, (empty)"]),
    ],
)
def test_samples_and_headings(tmp_path: Path, end: str, content: bytes, notes: list[str]) -> None:
    table = read(tmp_path, content, end)
    np.testing.assert_array_equal(table.values, [[1, 2.5], [3, 4]])
    assert list(table.notes) == notes


def test_a_table_of_truths_is_ones_and_zeros(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(tmp_path, b"True,1.5\nFalse,2\n").values, [[1, 1.5], [0, 2]])
    np.testing.assert_array_equal(read(tmp_path, b"True,true\nFalse,FALSE\n").values, [[1, 1], [0, 0]])
    assert "line 2, column 1 holds 'True', in a column of numbers" in refusal(tmp_path, b"a,b\nTrue,1\n7,2\n")


def test_of_a_long_heading_the_first_names_are_said(tmp_path: Path) -> None:
    names = ",".join(f"x{column}" for column in range(9)).encode()
    (note,) = read(tmp_path, names + b"\n" + b"1.5,2,3,4,5,6,7,8,9\n").notes
    assert note == "line 1 is taken as a heading: x0, x1, x2, x3, x4, x5, ..."


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        # Never is a first line with a number in it dropped.
        (
            b"1,?,0.5\n1,2,3\n",
            "line 1, column 2 holds '?', which is no number; a heading is a first line without any",
        ),
        (b"0,1,2,label\n.1,.2,.3,1\n", "line 1, column 4 holds 'label'"),
        (b"\xef\xbb\xbf1,x\n1,2\n", "line 1, column 2 holds 'x'"),
        (b",2\n1,2.5\n", "line 1, column 1 is empty"),
        (b",\n1,2\n", "line 1, column 1 is empty"),
        (
            b",0,1,label\n0,.1,.2,1\n",
            "line 1, column 1 is empty; a heading is a first line without any number, and to_csv",
        ),
        (b"nan,nan\n1,2\n", "line 1, column 1 holds 'nan', which is no finite number"),
        (b"NA,?\n1,2\n", "line 1, column 1 holds 'NA'"),
        (b"?,-\n1,2\n", "line 1, column 1 holds '?'"),
        (b"0x10,0x11\n1,2\n", "line 1, column 1 holds '0x10'"),
        (b"5%,6%\n1,2\n", "line 1, column 1 holds '5%'"),
        (b"1_000,2_000\n1,2\n", "line 1, column 1 holds '1_000'"),
        # Further down.
        (b"a,b\n1,2\n3,x\n", "line 3, column 2 holds 'x', which is no number"),
        (b"a,b\n1,2\n\n3,x\n", "line 4, column 2 holds 'x'"),
        (b'"a\nb",c\n1,2\n3,x\n', "line 4, column 2 holds 'x'"),
        (b"a,b\n1,2\na,b\n3,4\n", "line 3, column 1 holds 'a'"),
        (b"a,b\n1,2\n,3\n", "line 3, column 1 is empty"),
        (b"a,b\n1,NA\n", "line 2, column 2 holds 'NA', which is no finite number"),
        (b"a,b\n1,-inf\n", "line 2, column 2 holds '-inf', which is no finite number"),
        (b"a,b\n1,1e400\n", "line 2, column 2 holds 1e400, which is too large for a number of 64 bits"),
        (b"a,b\n1_000,2\n", "line 2, column 1 holds '1_000'"),
        (b"a,b\n0x10,2\n", "line 2, column 1 holds '0x10'"),
        (b'a,b\n"1,000",2\n', "line 2, column 1 holds '1,000'"),
        (b"a,b\n2020-01-01,2\n", "line 2, column 1 holds '2020-01-01'"),
        ("a,b\n\u0661,2\n".encode(), "line 2, column 1 holds '\u0661'"),
        (b"a,b\n1\x00,2\n", r"line 2, column 1 holds '1\x00'"),
        (b"a\n" + b"x" * 300 + b"\n", f"holds '{'x' * 40}...', which is no number"),
        (b'a\n1\n""\n2\n', "row 1 is empty"),
        # Lines of other lengths.
        (b"1,2\n3,4,5\n", "line 2 has 3 cells, the first line has 2"),
        (b"1,2\n3\n5,6\n", "line 2 has 1 cells, the first line has 2"),
        (b"a,b\n1,2,3\n4,5,6\n", "line 2 has 3 cells, the first line has 2"),
        (b"a,b,c\n1,2\n", "line 2 has 2 cells, the first line has 3"),
        (b"1,2,\n3,4,\n", "line 1, column 3 is empty"),
        (b"a,b,\n1,2,\n", "line 2, column 3 is empty"),
        # Other separators.
        (b"a;b\n1;2\n", "line 2, column 1 holds '1;2', which is no number; cells are separated by commas"),
        (b"1;2\n3;4\n", "line 1, column 1 holds '1;2', which is no number; cells are separated by commas"),
        (b"1\t2\n3\t4\n", "cells are separated by commas"),
        (b"1 2\n3 4\n", "cells are separated by commas"),
        (b"a;b\n1,5;2,5\n", "the first line has 1; cells are separated by commas, and decimals have a point"),
        # Not a table.
        (b"", "it is empty"),
        (b"\n \n\n", "it is empty"),
        (b"a,b\n", "it has a heading, line 1, and no rows"),
        (b"\na,b\n\n", "it has a heading, line 2, and no rows"),
        (b"a,b\n1,2\n3,\xe94\n", "line 3 is no UTF-8 text; save the file as UTF-8"),
        (b"gr\xf6\xdfe,b\n1,2\n", "line 1 is no UTF-8 text"),
        ("a,b\n1,2\n".encode("utf-16"), "line 1 is no UTF-8 text"),
        # Quotation marks that are not closed.
        (b'a,b\n1,2\n3,"4\n5,6\n', "line 3: a quotation mark is not closed"),
        (b'"a,b\n1,2\n', "line 1: a quotation mark is not closed"),
        (b'1,"2\n' + b"3,4\n" * 40_000, "line 1: a quotation mark is not closed"),
        (b'a,b\n1,2\n3,"4\n' + b"3,4\n" * 40_000, "line 3: a quotation mark is not closed"),
        (b'a,b\n1,"2"x\n', "line 2: a quotation mark is not closed, or stands in a cell"),
    ],
)
def test_what_does_not_belong_is_named_with_its_place(
    tmp_path: Path, end: str, content: bytes, problem: str
) -> None:
    assert problem in refusal(tmp_path, content, end)


# --- what pandas writes besides a table


def test_pandas_tables_without_their_index_are_read(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"a": [1.0, 3.0], "b": [2.5, 4.0]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    np.testing.assert_array_equal(read_numbers(tmp_path / "a.csv").values, frame)
    frame.to_csv(tmp_path / "b.csv", index=False, header=False)
    np.testing.assert_array_equal(read_numbers(tmp_path / "b.csv").values, frame)


@pytest.mark.parametrize("names", [["a", "b"], [0, 1], [1, 2]])
@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 0, 1], [17, 4, 30]])
def test_the_index_of_a_table_is_refused(tmp_path: Path, names: list[str | int], rows: list[int]) -> None:
    frame = pandas.DataFrame([[0.5, 1.0], [0.25, 0.0], [0.125, 1.0]], index=rows)
    frame.columns = names
    frame.to_csv(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"to_csv\(index=False\)"):
        read_numbers(tmp_path / "a.csv")
    # Read and written again, it has a name that pandas made up.
    pandas.read_csv(tmp_path / "a.csv").to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(DataError, match=r"to_csv\(index=False\)"):
        read_numbers(tmp_path / "b.csv")


def test_the_row_names_of_r_are_an_index(tmp_path: Path) -> None:
    assert "to_csv(index=False)" in refusal(tmp_path, b'"","a","b"\n"1",.5,1\n"2",.5,2\n')


def test_columns_without_a_name_may_hold_other_things(tmp_path: Path) -> None:
    assert read(tmp_path, b",label\n0.5,1\n0.25,0\n").values.shape == (2, 2)
    assert read(tmp_path, b",a\n1,0.5\n0,0.25\n1,0.5\n").values.shape == (3, 2)


def test_a_column_that_counts_the_rows_is_said(tmp_path: Path) -> None:
    note = "column 1 counts the rows"
    assert any(found.startswith(note) for found in read(tmp_path, COUNTED).notes)
    assert any(found.startswith(note) for found in read(tmp_path, b"id,a\n" + COUNTED).notes)
    assert not read(tmp_path, COUNTED.replace(b"3,", b"2,", 1)).notes


@pytest.mark.parametrize("heading", [[0, 1, 2], [1, 2, 3], [0, 1], [0], [0, 1, 2, 0], [0, 0, 1, 2]])
def test_numbers_for_names_are_no_sample(tmp_path: Path, heading: list[int]) -> None:
    frame = pandas.DataFrame(np.random.default_rng(0).standard_normal((4, len(heading))), columns=heading)
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match=r"line 1 is 0|line 1 is 1, 2, 3") as caught:
        read_numbers(tmp_path / "a.csv")
    assert "a heading without names" in str(caught.value)
    assert "to_csv(index=False, header=False)" in str(caught.value)
    assert "put a line of names above it" in str(caught.value)
    # The cures work.
    frame.to_csv(tmp_path / "b.csv", index=False, header=False)
    np.testing.assert_array_equal(read_numbers(tmp_path / "b.csv").values, frame)
    (tmp_path / "c.csv").write_text(",".join("abcd"[: len(heading)]) + "\n" + (tmp_path / "a.csv").read_text())
    assert len(read_numbers(tmp_path / "c.csv").values) == 5


def test_many_numbers_that_count_are_no_sample_of_whole_numbers_either(tmp_path: Path) -> None:
    pandas.DataFrame(np.eye(3, 64, dtype=int)).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match=r"line 1 is 0, 1, 2, 3, 4, 5, \.\.\.: a heading without names"):
        read_numbers(tmp_path / "a.csv")


def test_few_whole_numbers_that_count_are_a_sample_and_it_is_said(tmp_path: Path) -> None:
    table = read(tmp_path, b"1,2,3\n4,5,6\n")
    assert table.values.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert table.notes[0].startswith("line 1, 1, 2, 3, is taken as a sample; if it is a heading, ")
    assert read(tmp_path, b"1,2,3\n").notes == ()
    assert read(tmp_path, b"0\n1\n1\n").notes == ()  # labels
    assert read(tmp_path, b"0,2,1\n4,5,6\n").notes == ()
