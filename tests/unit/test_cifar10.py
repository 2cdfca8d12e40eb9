"""CIFAR-10: the official batches in every wrapping, pickles that would run code, grey images, the real thing."""

import codecs
import lzma
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.small_data import Array, all_rows, batch, cut, entries, get, manifest, refusal, sha256, tarball

from admmctl.comm import Serial
from admmctl.data import cifar10, shards
from admmctl.data.cifar10 import FOLDER, Cifar10, Cifar10Settings, read_batch
from admmctl.data.dataset import Part
from admmctl.errors import DataError

BATCHES = [name for name, _ in cifar10.BATCHES]
PARTS: tuple[Part, ...] = ("train", "test")


def small(rows: int = 4) -> dict[str, tuple[Array, list[int]]]:
    """Images and labels of six batches; all ten classes occur in either set."""
    generator = np.random.default_rng(1)
    images = {name: generator.integers(0, 256, (rows, 3072)).astype(np.uint8) for name in BATCHES}
    images["test_batch"] = generator.integers(0, 256, (10, 3072)).astype(np.uint8)
    first = {name: 3 * number for number, name in enumerate(BATCHES)}
    return {name: (x, [(first[name] + row) % 10 for row in range(len(x))]) for name, x in images.items()}


SMALL = small()
CONTENTS = {name: batch(x, labels) for name, (x, labels) in SMALL.items()}
EXPECTED: dict[Part, tuple[Array, list[int]]] = {
    "train": (
        np.concatenate([SMALL[name][0] for name in BATCHES[:5]]),
        [label for name in BATCHES[:5] for label in SMALL[name][1]],
    ),
    "test": SMALL["test_batch"],
}


def in_order(contents: dict[str, bytes]) -> dict[str, bytes]:
    """Members of the official tarball, which has them in no particular order, and others among them."""
    members = {f"{FOLDER}/readme.html": b"<html>", f"{FOLDER}/batches.meta": b"meta"}
    return members | {f"{FOLDER}/{name}": contents[name] for name in reversed(BATCHES)}


def as_tarball(folder: Path, contents: dict[str, bytes] = CONTENTS) -> list[Path]:
    return [tarball(folder / "cifar-10-python.tar.gz", in_order(contents))]


def as_files(folder: Path, contents: dict[str, bytes] = CONTENTS) -> list[Path]:
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in sorted(contents)]


def as_xz(folder: Path, contents: dict[str, bytes] = CONTENTS) -> list[Path]:
    return as_files(folder, {f"{name}.xz": lzma.compress(content, preset=0) for name, content in contents.items()})


def as_folder(folder: Path, contents: dict[str, bytes] = CONTENTS) -> list[Path]:
    (folder / FOLDER).mkdir()
    as_files(folder / FOLDER, contents)
    return [folder / FOLDER]


def as_folder_around(folder: Path, contents: dict[str, bytes] = CONTENTS) -> list[Path]:
    return [as_folder(folder, contents)[0].parent]


def as_mixed_folder(folder: Path, contents: dict[str, bytes] = CONTENTS) -> list[Path]:
    as_files(folder, {name: contents[name] for name in BATCHES[:3]})
    as_xz(folder, {name: contents[name] for name in BATCHES[3:]})
    return [folder]


def as_tar_xz(folder: Path, contents: dict[str, bytes] = CONTENTS) -> list[Path]:
    return [tarball(folder / "mine.tar.xz", in_order(contents), "w:xz")]


WRAPPINGS = [as_tarball, as_tar_xz, as_files, as_xz, as_folder, as_folder_around, as_mixed_folder]


def opened(**options: Any) -> cifar10.Cifar10Source:
    return Cifar10().open(Cifar10Settings(**options))


def check() -> None:
    """The prepared rows are the expected ones."""
    for part in PARTS:
        x, labels = all_rows(opened(), part)
        np.testing.assert_array_equal(x, EXPECTED[part][0])
        assert labels == EXPECTED[part][1]


@pytest.fixture
def mine(results: Path, tmp_path: Path) -> Path:
    """An empty folder for the user's files."""
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_the_batches_are_read_from_every_wrapping(mine: Path, wrap: Any, anew: bool) -> None:
    contents = {name: pickled_anew(x, labels) for name, (x, labels) in SMALL.items()} if anew else CONTENTS
    messages = get("cifar10", *wrap(mine, contents))
    assert any("is not the official" in line for line in messages)
    assert (opened().features, opened().labels_known) == (3072, tuple(range(10)))
    check()


# --- pickled again


def pickled_anew(
    x: Array, labels: Any, protocol: int = pickle.DEFAULT_PROTOCOL, text: bool = True, core: str = "_core"
) -> bytes:
    """A batch as a later Python pickles it: keys as text, or as bytes, and NumPy's inside of any version."""
    content = {"batch_label": "a batch", "labels": labels, "data": x, "filenames": ["a.png"] * len(x)}
    found = pickle.dumps(content if text else {key.encode(): value for key, value in content.items()}, protocol)
    if protocol >= 4:
        # Without the frame, whose length would be another: it need not be there.
        frame = found.index(b"\x95")
        found = found[:frame] + found[frame + 9 :]
    for module in (b"multiarray", b"numeric"):
        old, new = b"numpy._core." + module, b"numpy." + core.encode() + b"." + module
        for length in ("B", "<I") if protocol >= 4 else ("",):
            sizes = [struct.pack(length, len(name)) if length else b"" for name in (old, new)]
            found = found.replace(sizes[0] + old, sizes[1] + new)
    return found


LABELS_AS = {
    "a list": list,
    "bytes": lambda labels: np.array(labels, np.uint8),
    "an array": np.array,
    "a foreign array": lambda labels: np.array(labels, ">i4"),
    "numbers of NumPy": lambda labels: list(np.array(labels, np.int16)),
    "a tuple": tuple,
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("core", ["core", "_core"])
@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("kind", LABELS_AS)
def test_a_batch_that_a_later_python_pickled_again(protocol: int, core: str, text: bool, kind: str) -> None:
    x, labels = SMALL["data_batch_1"]
    for order in ("C", "F"):
        content = pickled_anew(np.array(x, order=order), LABELS_AS[kind](labels), protocol, text, core)  # type: ignore[call-overload,operator]
        assert (b"numpy." + core.encode()) in content
        found, numbers = read_batch("a", content)
        np.testing.assert_array_equal(found, x)
        assert (found.dtype, numbers.dtype, numbers.tolist()) == (np.uint8, np.int64, labels)


@pytest.mark.parametrize("place", ["{}", "./{}", "data/cifar/{}"])
def test_a_tarball_that_was_packed_again_may_have_its_batches_anywhere(mine: Path, place: str) -> None:
    members = {place.format(name): content for name, content in CONTENTS.items()}
    get("cifar10", tarball(mine / "mine.tgz", members | {"._data_batch_1": b"a Mac's notes"}))
    check()


def test_members_of_a_tarball_that_climb_out_are_never_written(mine: Path, tmp_path: Path) -> None:
    before = {path for path in tmp_path.rglob("*") if "datasets" not in path.parts}
    climbing = {"../../climbed": b"x", "/tmp/climbed-admmctl": b"x"}
    path = tarball(mine / "climbing.tar.gz", climbing | in_order(CONTENTS))
    get("cifar10", path)
    after = {path for path in tmp_path.rglob("*") if "datasets" not in path.parts}
    assert after - before == {path}
    assert not Path("/tmp/climbed-admmctl").exists()


@pytest.mark.parametrize("wrap", [as_tarball, as_folder])
def test_the_official_images_are_official_however_they_are_pickled(
    mine: Path, monkeypatch: pytest.MonkeyPatch, wrap: Any
) -> None:
    sums = {name: sha256(x.tobytes() + bytes(labels)) for name, (x, labels) in SMALL.items()}
    monkeypatch.setattr(cifar10, "_CONTENTS", sums)
    contents = {name: pickled_anew(x, labels) for name, (x, labels) in SMALL.items()}
    messages = get("cifar10", *wrap(mine, contents))
    assert (manifest("cifar10")["official"], len(messages)) == (True, 1)
    monkeypatch.setattr(cifar10, "_CONTENTS", sums | {"test_batch": "another"})
    (mine / "other").mkdir()
    messages = get("cifar10", *wrap(mine / "other", contents), force=True)
    assert len(messages) == 2
    assert "is not the official" in messages[0]


def test_a_batch_of_a_hundred_classes_says_what_it_lacks() -> None:
    content = pickle.dumps({"data": SMALL["data_batch_1"][0], "fine_labels": [1, 2, 3, 4]})
    with pytest.raises(DataError, match="is not a CIFAR-10 batch: it has no labels"):
        read_batch("a", content)


@pytest.mark.data
def test_a_real_batch_is_official_when_it_is_pickled_again(mirror: Path, tmp_path: Path) -> None:
    content = lzma.decompress((mirror / "cifar10" / FOLDER / "test_batch.xz").read_bytes())
    path = tmp_path / "test_batch"
    path.write_bytes(pickle.dumps(pickle.loads(content, encoding="latin1")))
    assert path.read_bytes() != content
    assert Cifar10().holds_official("test_batch", path)
    assert not Cifar10().holds_official("data_batch_1", path)


# --- pickles that would do something else

RAN: list[str] = []


class RunsCode:
    """Pickled, it is a call of any function whatever."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def ran(word: str) -> None:
    RAN.append(word)


ATTACKS = {
    "calls a function": RunsCode(ran, "code ran"),
    "calls os.system": RunsCode(os.system, "touch pwned"),
    "evaluates": RunsCode(eval, "RAN.append('code ran')"),
    "gets an attribute": RunsCode(getattr, b"", "join"),
    "opens a file": RunsCode(open, "pwned", "w"),
    "builds on a type": RunsCode(type, "X", (), {}),
    "loads by numpy": RunsCode(np.load, "pwned.npy"),
    "decodes": RunsCode(codecs.decode, b"pwned", "rot13"),
}


@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_pickle_that_would_run_code_runs_nothing_and_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: str, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    RAN.clear()
    evil = ATTACKS[attack]
    hidden: list[Any] = [
        {"data": evil, "labels": [0]},
        {"data": 0, "labels": [evil]},
        {"labels": [1], "a": (evil,)},
    ]
    for content in (evil, *hidden):
        with pytest.raises(
            DataError, match=r"^evil is not a CIFAR-10 batch.* asks for .*, which image data does not"
        ):
            read_batch("evil", pickle.dumps(content, protocol))
    assert RAN == []
    assert list(tmp_path.iterdir()) == []


def test_opcodes_that_reach_for_objects_by_other_ways_are_refused() -> None:
    for content in (
        b"\x80\x02cadmmctl.data\ncifar10\n.",
        b"(S'touch pwned'\nios\nsystem\n.",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93.",
        b"\x80\x02Ppersistent\n.",
        b"\x80\x02\x82\x01.",
        b"cnumpy\ndtype.type\n.",
        b"cnumpy\nndarray.tofile\n.",
        b"c_codecs\nencode\n(Vpwned\nVzlib\ntR.",
        b"c_codecs\nencode\n(cnumpy\nndarray\nVlatin1\ntR.",
        b"cnumpy._core.multiarray\nscalar\n(cnumpy\ndtype\n(VO8\ntRVpwned\ntR.",
        b"cnumpy._core.numeric\n_frombuffer\n(Vpwned\ncnumpy\ndtype\n(Vu1\ntR(I1\ntVC\ntR.",
    ):
        with pytest.raises(DataError, match="evil is not a CIFAR-10 batch"):
            read_batch("evil", content)


def forged(flags: int, rows: int, data: bytes) -> bytes:
    """A batch as ``batch`` makes it, but for the inner state of its array: flags of the type, and its data."""

    def integer(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    start = b"\x80\x02}(U\x06labels](K\x07eU\x04data"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    shape = b"(" + integer(rows) + integer(3072) + b"t"
    kind = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR"
    state = b"(" + integer(3) + b"U\x01|NNN" + integer(-1) + integer(-1) + integer(flags) + b"tb"
    return start + array + b"(K\x01" + shape + kind + state + b"\x89" + data + b"tbu."


PIXELS = b"T" + struct.pack("<i", 3072) + bytes(3072)
NUMBERS = b"](" + b"K\x05" * 3072 + b"e"


def test_an_array_forged_by_hand_like_this_is_read() -> None:
    x, labels = read_batch("forged", forged(0, 1, PIXELS))
    assert (x.shape, x.any(), labels.tolist()) == ((1, 3072), np.False_, [7])


@pytest.mark.parametrize("flags", [2, 63], ids=["objects", "all flags"])
def test_an_array_whose_type_claims_to_hold_objects_corrupts_nothing(flags: int) -> None:
    """NumPy believes the state in a pickle: it would write pointers of 8 bytes into room for bytes."""
    program = (
        "import sys; from admmctl.data.cifar10 import read_batch; read_batch('forged', sys.stdin.buffer.read())"
    )
    # In a process of its own, which may crash.
    done = subprocess.run([sys.executable, "-c", program], input=forged(flags, 1, NUMBERS), capture_output=True)
    assert done.returncode == 1
    assert b"DataError: forged is not a CIFAR-10 batch" in done.stderr


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_a_batch_that_would_run_code_is_named_and_leaves_no_dataset(mine: Path, tmp_path: Path, wrap: Any) -> None:
    evil = pickle.dumps(ATTACKS["calls a function"], 2)
    RAN.clear()
    message = refusal("cifar10", *wrap(mine, CONTENTS | {"data_batch_3": evil}))
    assert all(text in message for text in ("data_batch_3", str(mine), "it asks for"))
    assert RAN == []
    assert entries(tmp_path / "datasets") == []


# --- batches that are none


def dumped(value: Any) -> bytes:
    return pickle.dumps(value, 2, fix_imports=False)


X, LABELS = SMALL["data_batch_1"]
OBJECTS = np.empty(4, dtype=object)
WRONG = {
    "nothing": b"",
    "text": b"<html>not found</html>",
    "half a pickle": CONTENTS["data_batch_1"][:5000],
    "only the start": CONTENTS["data_batch_1"][:2],
    "a list": b"\x80\x02]q\x00.",
    "no labels": batch(X, LABELS).replace(b"labels", b"lebals"),
    "too few labels": batch(X, LABELS[:3]),
    "too many labels": batch(X, [*LABELS, 1]),
    "a label of 10": batch(X, [0, 1, 2, 10]),
    "a label of -1": batch(X, [0, 1, 2, -1]),
    "half a label": batch(X, [0, 1, 2, 2.5]),
    "labels of text": batch(X, [b"a", b"b", b"c", b"d"]),
    "one label": batch(X, 5),
    "labels in two axes": batch(X, [[0], [1], [2], [3]]),
    "labels of different lengths": batch(X, [0, 1, 2, [3]]),
    "no label at all": batch(X, None),
    "other pixels": batch(X[:, :3071], LABELS),
    "more axes": batch(X.reshape(4, 3, 32, 32), LABELS),
    "other numbers": batch(X.astype(np.int64), LABELS),
    "no array": batch([[1] * 3072] * 4, LABELS),  # type: ignore[arg-type]
    "an array of objects": batch(OBJECTS, LABELS),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_batch_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(DataError, match="the name is not a CIFAR-10 batch"):
        read_batch("the name", WRONG[wrong])


@given(st.data())
def test_a_damaged_batch_is_read_as_it_is_or_refused_and_nothing_else(data: st.DataObject) -> None:
    content = bytearray(batch(X[:1], [7]))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 250))] = data.draw(st.integers(0, 255))
    with suppress(DataError):
        x, labels = read_batch("damaged", bytes(content))
        assert x.dtype == np.uint8
        assert x.shape == (len(labels), 3072)
        assert all(0 <= label <= 9 for label in labels)


# --- files that are cut, damaged or missing


def test_a_truncated_tarball_is_refused_at_every_cut(mine: Path, tmp_path: Path) -> None:
    (path,) = as_tarball(mine)
    whole = path.read_bytes()
    for keep in range(len(whole) - 9, 600, -(len(whole) // 12)):
        path.write_bytes(whole[:keep])
        assert f"{path} is truncated" in refusal("cifar10", path)
    path.write_bytes(b"<html>please log in</html>")
    assert f"--from {path}: neither" in refusal("cifar10", path)
    assert entries(tmp_path / "datasets") == []


@pytest.mark.parametrize("mask", [255, 3], ids=["stored", "compressed"])
def test_a_tarball_with_wrong_bytes_is_refused_wherever_they_are(mine: Path, tmp_path: Path, mask: int) -> None:
    """gzip's own checksum tells, wherever in the archive they are."""
    (path,) = as_tarball(mine, {name: batch(x & mask, labels) for name, (x, labels) in SMALL.items()})
    whole = path.read_bytes()
    for at in range(len(whole) // 4, len(whole) - 8, len(whole) // 15):
        content = bytearray(whole)
        content[at : at + 8] = bytes(byte ^ 0xFF for byte in content[at : at + 8])
        path.write_bytes(bytes(content))
        assert str(path) in refusal("cifar10", path)
    assert entries(tmp_path / "datasets") == []


def test_a_truncated_xz_file_is_named(mine: Path, tmp_path: Path) -> None:
    paths = as_xz(mine)
    cut(mine / "data_batch_2.xz", -30)
    assert f"{mine / 'data_batch_2.xz'} is truncated" in refusal("cifar10", *paths)
    (mine / "data_batch_2.xz").write_bytes(b"no xz at all")
    assert str(mine / "data_batch_2.xz") in refusal("cifar10", mine)
    assert entries(tmp_path / "datasets") == []


def test_a_tarball_without_a_batch_is_named_with_what_it_lacks(mine: Path) -> None:
    path = tarball(mine / "other.tar.gz", dict.fromkeys(("a", f"{FOLDER}/data_batch_1"), b"x"))
    assert str(path) in refusal("cifar10", path)
    path = tarball(mine / "some.tar.gz", {f"{FOLDER}/{name}": CONTENTS[name] for name in BATCHES[:4]})
    assert f"{path} is not the CIFAR-10 tarball: there is no data_batch_5" in refusal("cifar10", path)


def test_batches_that_are_missing_are_named(mine: Path) -> None:
    paths = as_files(mine)
    message = refusal("cifar10", *[path for path in paths if path.name != "data_batch_4"])
    assert "missing: data_batch_4" in message
    (mine / "data_batch_4").unlink()
    assert str(mine) in refusal("cifar10", mine)


def test_a_folder_without_batches_is_refused_even_beside_one_that_has_them(mine: Path) -> None:
    """Files that were not named are not used."""
    as_folder(mine)
    (mine / "empty").mkdir()
    assert str(mine / "empty") in refusal("cifar10", mine / "empty")


def test_a_folder_that_holds_the_tarball_serves_as_well(mine: Path) -> None:
    as_tarball(mine)
    get("cifar10", mine)
    check()


def test_a_mirror_takes_official_batches_only(mine: Path, tmp_path: Path) -> None:
    (mine / "cifar10").mkdir()
    as_folder(mine / "cifar10")
    message = refusal("cifar10", mirror=str(mine))
    assert "data_batch_1 is damaged" in message
    assert cifar10._SUMS[0][1] in message
    assert entries(tmp_path / "datasets") == []


# --- grey and small


def averaged(images: Array, side: int) -> Array:
    """The mean of grey over each of side x side equal squares, pixel by pixel as they overlap."""
    red, green, blue = images.reshape(-1, 3, 32, 32).astype(float).transpose(1, 0, 2, 3)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    width = 32 / side
    out = np.zeros((len(images), side, side))
    for i in range(side):
        for j in range(side):
            for row in range(32):
                for column in range(32):
                    down = min((i + 1) * width, row + 1) - max(i * width, row)
                    across = min((j + 1) * width, column + 1) - max(j * width, column)
                    if down > 0 and across > 0:
                        out[:, i, j] += down * across * grey[:, row, column] / width**2
    return out.reshape(len(images), -1)


@pytest.fixture
def prepared(mine: Path) -> None:
    get("cifar10", *as_tarball(mine))


@pytest.mark.parametrize("side", [10, 8, 1, 7])
def test_grey_images_equal_a_direct_average_over_areas(prepared: None, side: int) -> None:
    source = opened(grey=side)
    assert source.features == side * side
    for part in PARTS:
        found, labels = all_rows(source, part)
        np.testing.assert_allclose(found, averaged(EXPECTED[part][0], side), rtol=1e-5, atol=1e-3)
        assert labels == EXPECTED[part][1]
    out = np.empty((3, side * side), dtype=np.float32)
    source.inputs("test", np.array([7, 2, 2]), out)  # any rows
    np.testing.assert_allclose(out, found[[7, 2, 2]], rtol=1e-6)


@pytest.mark.parametrize("first", range(10))
@pytest.mark.parametrize("grey", [None, 10])
def test_any_pair_of_classes(prepared: None, first: int, grey: int | None) -> None:
    second = (first + 7) % 10
    plan = shards.plan(Cifar10Settings(classes=[first, second], grey=grey, scale="none"), 1)
    own = shards.load(plan, Serial())
    for part, shard in (("train", own.train), ("test", own.test)):
        x, labels = EXPECTED[part]  # type: ignore[index]
        chosen = [row for row, label in enumerate(labels) if label in (first, second)]
        assert shard.labels.tolist() == [int(labels[row] == second) for row in chosen]
        expected = averaged(x[chosen], 10) if grey else x[chosen]
        np.testing.assert_allclose(shard.a0[:-1].T, expected, rtol=1e-5, atol=1e-3)


# --- the real thing


@pytest.fixture(scope="module")
def real(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The real CIFAR-10, prepared once."""
    folder, unpacked = tmp_path_factory.mktemp("real-cifar10"), tmp_path_factory.mktemp("unpacked")
    for packed in (mirror / "cifar10" / FOLDER).glob("*.xz"):  # once: fetch reads a file twice
        (unpacked / packed.stem).write_bytes(lzma.decompress(packed.read_bytes()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADMMCTL_DATASETS", str(folder))
        messages = get("cifar10", mirror=str(unpacked if any(unpacked.iterdir()) else mirror))
        assert messages == [f"cifar10 is ready in {folder / 'cifar10'}"]
        yield folder / "cifar10"


@pytest.mark.data
def test_the_real_counts_are_the_published_ones(real: Path) -> None:
    source = opened()
    for part, count in (("train", 5_000), ("test", 1_000)):
        labels = source.labels(part, range(source.rows(part)))  # type: ignore[arg-type]
        assert np.bincount(labels).tolist() == [count] * 10
    assert source.labels("train", range(5)).tolist() == [6, 9, 9, 4, 1]
    assert source.stored("train", range(1))[0, :3].tolist() == [59, 43, 50]


@pytest.mark.data
def test_airplanes_and_ships_in_a_hundred_features_as_in_the_convex_paper(real: Path) -> None:
    plan = shards.plan(Cifar10Settings(classes=[0, 8], grey=10, train=500, test="official"), 1)
    own = shards.load(plan, Serial())
    assert own.train.a0.shape == (101, 500)
    assert own.test.a0.shape == (101, 2000)
    np.testing.assert_allclose(own.train.a0[:-1].mean(axis=1), 0, atol=1e-4)
    np.testing.assert_allclose(own.train.a0[:-1].std(axis=1), 1, rtol=1e-3)
