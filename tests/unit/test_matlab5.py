"""The streaming reader of MATLAB 5 files: against SciPy, against hand-made, cut and damaged files."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.io import loadmat, savemat

from admmctl.data.matlab5 import read_variables
from admmctl.errors import DataError

CURE = "admmctl fetch svhn"
TYPES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 9, "i8": 12, "u8": 13}
DIGITS = np.random.default_rng(0).integers(0, 256, (4, 5, 3, 11), dtype=np.uint8)
LABELS = np.arange(11.0)[:, None] % 10 + 1


def joined(variable, items):
    """The array put together from its blocks, each checked."""
    blocks = list(variable.blocks(items))
    assert all(0 < len(block) <= items and block.shape[1:] == variable.shape[:-1] for block in blocks)
    assert all(block.dtype == variable.dtype and block.dtype.isnative for block in blocks)
    if not blocks:
        return np.empty(variable.shape, variable.dtype)
    return np.moveaxis(np.concatenate(blocks), 0, -1)


def everything(path, items=3):
    return {variable.name: joined(variable, items) for variable in read_variables(path)}


def read_into(found, path, items):
    """Every block of every variable, kept even when an error ends the reading."""
    for variable in read_variables(path):
        found[variable.name] = []
        for block in variable.blocks(items):
            found[variable.name].append(block)


def same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)


def element(order, kind, data, short=False):
    """An element by the book, in its long or its short form."""
    if short:
        return struct.pack(order + "I", len(data) << 16 | kind) + data.ljust(4, b"\0")
    return struct.pack(order + "II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def variable_bytes(order, name, array, kind=6, flags=0, short=()):
    """The miMATRIX element of an array, column-major."""
    stored = array.astype(array.dtype.newbyteorder(order)).tobytes(order="F")
    body = (
        element(order, 6, struct.pack(order + "II", kind | flags, 0))
        + element(order, 5, struct.pack(f"{order}{array.ndim}i", *array.shape))
        + element(order, 1, name.encode(), "name" in short)
        + element(order, TYPES[array.dtype.str[1:]], stored, "data" in short)
    )
    return element(order, 14, body)


def header(order, version=0x0100, text=b"MATLAB 5.0 MAT-file, made by hand"):
    return text.ljust(124) + struct.pack(order + "H", version) + (b"IM" if order == "<" else b"MI")


def written(path, order, *elements, compress=False):
    if compress:
        packed = [zlib.compress(e) for e in elements]
        elements = [struct.pack(order + "II", 15, len(e)) + e for e in packed]
    path.write_bytes(header(order) + b"".join(elements))
    return path


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("names", ["Xy", "yX"])
@pytest.mark.parametrize("items", [1, 4, 11, 1000])
def test_reads_what_scipy_writes(tmp_path, compress, names, items):
    arrays = {"X": DIGITS, "y": LABELS}
    savemat(tmp_path / "a.mat", {name: arrays[name] for name in names}, do_compression=compress)
    same(everything(tmp_path / "a.mat", items), {name: arrays[name] for name in names})
    for variable in read_variables(tmp_path / "a.mat"):
        np.testing.assert_array_equal(variable.array(), arrays[variable.name])
        assert variable.array().shape == variable.shape == arrays[variable.name].shape
        if variable.name == "X":  # a block holds slices along the last axis
            first, *_ = variable.blocks(4)
            assert first.shape == (4, 4, 5, 3)
            np.testing.assert_array_equal(first[3], DIGITS[..., 3])


@settings(deadline=None, max_examples=60)
@given(
    arrays=st.dictionaries(
        st.text("abcXY_z", min_size=1, max_size=9).filter(lambda name: name[0] != "_"),
        hnp.arrays(
            st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]),
            hnp.array_shapes(min_dims=2, max_dims=5, min_side=0, max_side=5),
        ),
        min_size=1,
        max_size=3,
    ),
    compress=st.booleans(),
    items=st.integers(1, 6),
)
def test_any_shape_and_type_equals_scipy(tmp_path_factory, arrays, compress, items):
    path = tmp_path_factory.getbasetemp() / "shapes.mat"
    savemat(path, arrays, do_compression=compress)
    expected = {name: array for name, array in loadmat(path).items() if not name.startswith("__")}
    same(everything(path, items), expected)


def test_variables_can_be_left_out_read_late_and_read_twice(tmp_path):
    savemat(tmp_path / "a.mat", {"a": DIGITS, "X": DIGITS, "y": LABELS}, do_compression=True)
    variables = list(read_variables(tmp_path / "a.mat"))
    assert [v.name for v in variables] == ["a", "X", "y"]
    np.testing.assert_array_equal(joined(variables[2], 5), LABELS)
    blocks_a, blocks_x = variables[0].blocks(2), variables[1].blocks(2)
    for _ in range(5):  # two at a time
        np.testing.assert_array_equal(next(blocks_a), next(blocks_x))
    for variable in read_variables(tmp_path / "a.mat"):
        if variable.name == "X":
            next(variable.blocks(1))  # begun and left
            np.testing.assert_array_equal(joined(variable, 2), DIGITS)
    with pytest.raises(ValueError, match="1 or more"):
        next(variables[0].blocks(0))


def test_other_kinds_of_variables_are_passed_over(tmp_path):
    others = {"t": "text", "c": np.array([[1, "b"]], object), "s": {"f": 1.0}, "z": np.ones((2, 2)) * 1j}
    for compress in (True, False):
        savemat(tmp_path / "a.mat", {**others, "X": DIGITS}, do_compression=compress)
        same(everything(tmp_path / "a.mat"), {"X": DIGITS})


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compress", [True, False])
def test_hand_made_files_of_either_byte_order(tmp_path, order, compress):
    arrays = {
        "wide": np.arange(24, dtype=np.float64).reshape(2, 3, 4) * 1.5,
        "s": np.array([[7, 300]], np.uint16),  # the name and the data in their tags
        "narrow": np.arange(5, dtype=np.uint8)[:, None],  # class double, stored as bytes
    }
    path = written(
        tmp_path / "a.mat",
        order,
        variable_bytes(order, "wide", arrays["wide"]),
        variable_bytes(order, "s", arrays["s"], short=("name", "data"), kind=11),
        variable_bytes(order, "narrow", arrays["narrow"]),
        compress=compress,
    )
    same(everything(path), arrays)
    same(everything(path), {name: array for name, array in loadmat(path).items() if not name.startswith("__")})
    assert [v.dtype for v in read_variables(path)] == [np.float64, np.uint16, np.uint8]


@pytest.mark.parametrize("compress", [True, False])
def test_every_cut_is_an_error_and_never_garbage(tmp_path, compress):
    arrays = {"X": DIGITS[:2, :2, :, :7], "y": LABELS}
    savemat(tmp_path / "whole.mat", arrays, do_compression=compress)
    whole = (tmp_path / "whole.mat").read_bytes()
    boundary = 128 + 8 + int.from_bytes(whole[132:136], "little")
    path = tmp_path / "cut.mat"
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        if cut == boundary:  # this is a whole file with one variable
            same(everything(path), {"X": arrays["X"]})
            continue
        found = {}
        with pytest.raises(DataError) as error:
            read_into(found, path, 2)
        assert all(text in str(error.value) for text in (str(path), CURE, "truncated"))
        assert cut < 128 or f" {cut:,}" in str(error.value)
        for name, blocks in found.items():
            for i, block in enumerate(blocks):
                np.testing.assert_array_equal(np.moveaxis(block, 0, -1), arrays[name][..., 2 * i : 2 * i + 2])
            assert cut > boundary or len(blocks) < 4, "the last block of a cut variable"
        with pytest.raises(DataError, match="truncated"):
            list(read_variables(path))  # passing over the numbers notices as well


def test_every_damaged_byte_of_a_compressed_file_is_noticed(tmp_path):
    """The checksum covers a compressed variable; what is read without an error is right."""
    arrays = {"X": DIGITS[:2, :2, :, :4], "y": LABELS}
    savemat(tmp_path / "whole.mat", arrays, do_compression=True)
    whole = bytearray((tmp_path / "whole.mat").read_bytes())
    noticed = 0
    for at in range(124, len(whole)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(whole)
            damaged[at] ^= flip
            (tmp_path / "a.mat").write_bytes(damaged)
            try:
                same(everything(tmp_path / "a.mat"), arrays)
            except DataError:
                noticed += 1
    assert noticed > 0.99 * 3 * (len(whole) - 124)


@settings(deadline=None, max_examples=100)
@given(data=st.binary(max_size=300), compress=st.booleans(), order=st.sampled_from("<>"))
def test_nonsense_after_the_header_is_a_clear_error(tmp_path_factory, data, compress, order):
    path = tmp_path_factory.getbasetemp() / "nonsense.mat"
    written(path, order, element(order, 14, data), compress=compress)
    with pytest.raises(DataError, match=CURE):
        everything(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not a MATLAB 5 file, or is truncated"),
        (b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "not a MATLAB 5 file, or is truncated"),
        (b"<html><body>404 Not Found</body></html>".ljust(500), "not a MATLAB 5 file: it starts with b'<html>"),
        (b"\x89HDF\r\n\x1a\n".ljust(600, b"\0"), "MATLAB 7.3"),
        (header("<", 0x0200, b"MATLAB 7.3 MAT-file").ljust(600, b"\0"), "MATLAB 7.3"),
        (header(">", 0x0200).ljust(600, b"\0"), "MATLAB 7.3"),
        (header("<", 0x0300).ljust(600, b"\0"), "not a MATLAB 5 file"),
        (header("<"), "truncated: it ends at byte 128"),
        (header("<") + b"\0" * 64, "damaged at byte 128: no variable begins there"),
        (header("<") + element("<", 14, b"\0" * 64), "damaged"),
        (header("<") + element("<", 15, b"no zlib"), "damaged near byte"),
        (header("<") + element("<", 15, zlib.compress(element("<", 9, b"\0" * 8))), "is no variable"),
        (header("<") + element("<", 15, zlib.compress(element("<", 14, b""))), "data end too early"),
    ],
)
def test_files_that_are_something_else(tmp_path, content, problem):
    (tmp_path / "train_32x32.mat").write_bytes(content)
    with pytest.raises(DataError) as error:
        everything(tmp_path / "train_32x32.mat")
    assert all(text in str(error.value) for text in (problem, str(tmp_path / "train_32x32.mat"), CURE))


@pytest.mark.parametrize("compress", [True, False])
def test_a_variable_that_lies_about_itself(tmp_path, compress):
    good = variable_bytes("<", "X", np.arange(40, dtype=np.uint8).reshape(2, 20))
    assert good.count(struct.pack("<ii", 2, 20)) == good.count(struct.pack("<II", 2, 40)) == 1
    for wrong in (
        good.replace(struct.pack("<ii", 2, 20), struct.pack("<ii", 2, 21)),
        good.replace(struct.pack("<ii", 2, 20), struct.pack("<ii", -2, -20)),
        good.replace(struct.pack("<II", 2, 40), struct.pack("<II", 18, 40)),
        good.replace(struct.pack("<II", 5, 8), struct.pack("<II", 5, 4)),
        good.replace(struct.pack("<II", 5, 8), struct.pack("<II", 5, 2**31)),
        good.replace(struct.pack("<II", 6, 8), struct.pack("<II", 1, 8)),
        good[:4] + struct.pack("<I", 16) + good[8:24],
    ):
        path = written(tmp_path / "a.mat", "<", wrong, compress=compress)
        with pytest.raises(DataError, match=r"damaged .*near byte|damaged near byte"):
            everything(path)


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.mat", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            next(read_variables(path))


def test_a_file_that_changes_while_it_is_read(tmp_path):
    savemat(tmp_path / "a.mat", {"X": DIGITS})
    (variable,) = read_variables(tmp_path / "a.mat")
    savemat(tmp_path / "a.mat", {"X": DIGITS[..., :5]})
    with pytest.raises(DataError, match="changed while it was read"):
        next(variable.blocks(2))


STREAM = """
import re, sys, zlib
from pathlib import Path
import numpy as np
from admmctl.data.matlab5 import read_variables

def peak():  # VmHWM belongs to this process; ru_maxrss of resource may be inherited from the parent's
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

before, seen = peak(), 0
for variable in read_variables(Path(sys.argv[1])):
    for block in variable.blocks(1000):
        expected = np.arange(seen, seen + len(block)) // 7 % 251
        assert (block == expected[:, None, None, None]).all()
        seen += len(block)
print(seen, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("compress", [True, False])
def test_memory_of_a_large_file(tmp_path, compress):
    """60,000 images, 184 MB, in a process of its own."""
    n, size = 60_000, 32 * 32 * 3
    head = variable_bytes("<", "X", np.empty((32, 32, 3, 0), np.uint8), kind=9)
    head = head[8:].replace(struct.pack("<4i", 32, 32, 3, 0), struct.pack("<4i", 32, 32, 3, n))
    head = head[:-8] + struct.pack("<II", 2, n * size)
    head = struct.pack("<II", 14, len(head) + n * size) + head
    packer = zlib.compressobj(1)
    with (tmp_path / "a.mat").open("wb") as file:
        file.write(header("<"))
        file.write(b"\0" * 8 if compress else head)
        count = file.write(packer.compress(head)) if compress else 0
        for start in range(0, n, 1000):
            values = (np.arange(start, start + 1000) // 7 % 251).astype(np.uint8)
            images = np.repeat(values, size).tobytes()
            count += file.write(packer.compress(images) if compress else images)
        if compress:
            count += file.write(packer.flush())
            file.seek(128)
            file.write(struct.pack("<II", 15, count))
    command = [sys.executable, "-c", STREAM, str(tmp_path / "a.mat")]
    seen, grown = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert int(seen) == n
    assert float(grown) < 40


@pytest.mark.data
def test_the_real_truncated_file(mirror):
    """2.7 MB of the official 182 MB: the first images are right, then the error names file and cure."""
    path = mirror / "svhn" / "train_32x32.mat.first2686976bytes"
    with np.load(mirror / "svhn" / "svhn_train_first1083.npz") as digits:
        images = digits["X"]
    variables, found = read_variables(path), {}
    variable = next(variables)
    assert (variable.name, variable.shape, variable.dtype) == ("X", (32, 32, 3, 73_257), np.uint8)
    with pytest.raises(DataError) as error:
        read_into(found, path, 100)
    read = np.concatenate(found["X"])
    assert len(images) > len(read) >= 500
    np.testing.assert_array_equal(read, images[: len(read)])
    for text in (str(path), "truncated", "2,686,976", "variable X", "182,004,483", CURE):
        assert text in str(error.value)
    with pytest.raises(DataError, match="truncated"):
        next(variables)
