"""``admmctl fetch``: from mirrors, addresses and one's own files to a dataset, or to one clear error."""

import dataclasses
import errno
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.http_server import Server
from support.small_data import all_rows, cut, entries, files_in, idx, manifest, sha256

from admmctl.data import mnist, prepared
from admmctl.data.catalog import SourceFile
from admmctl.data.dataset import DataSettings, Part
from admmctl.data.fetch import Request, check, fetch, split_names
from admmctl.errors import DataError, UserError

ARRAYS = ["manifest.json", "x_test.npy", "x_train.npy", "y_test.npy", "y_train.npy"]


class Official:
    """Small files in the official format, laid out as in a mirror folder, and everything that was said."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mirror = tmp_path / "mirror"
        self.datasets = tmp_path / "datasets"
        self.messages: list[str] = []
        self._monkeypatch = monkeypatch
        generator = np.random.default_rng(0)
        self.x = {part: generator.integers(0, 256, (n, 28, 28)) for part, n in (("train", 6), ("test", 3))}
        self.y = {"train": np.array([5, 0, 4, 1, 9, 2]), "test": np.array([7, 2, 1])}
        self.contents: dict[str, bytes] = {}
        for (part, magic), file in mnist.FILES.items():
            array = self.x[part] if magic == mnist.IMAGES else self.y[part]
            self.contents[file.name] = gzip.compress(idx(array), mtime=0)
        self.publish()

    def publish(self) -> None:
        """Make the contents official: their sizes and sums are the published ones, and the mirror has them."""
        (self.mirror / "mnist").mkdir(parents=True, exist_ok=True)
        files = {}
        for key, file in mnist.FILES.items():
            content = self.contents[file.name]
            (self.mirror / "mnist" / file.name).write_bytes(content)
            # Nothing listens on port 9 of this machine: a fetch without a mirror finds no network.
            address = f"http://127.0.0.1:9/{file.name}"
            files[key] = SourceFile(file.name, len(content), sha256(content), (address,))
        self._monkeypatch.setattr(mnist, "FILES", files)
        card = dataclasses.replace(mnist.Mnist.card, files=tuple(files.values()))
        self._monkeypatch.setattr(mnist.Mnist, "card", card)

    def file(self, name: str = "train-images-idx3-ubyte.gz") -> Path:
        return self.mirror / "mnist" / name

    def fetch(self, mirror: str | Path | None, **options: Any) -> Path | None:
        request = Request(mirror=None if mirror is None else str(mirror), **options)
        return fetch("mnist", request, self.messages.append, lambda name, done, total: None)

    def refusal(self, mirror: str | Path | None, **options: Any) -> str:
        with pytest.raises(UserError) as caught:
            self.fetch(mirror, **options)
        return str(caught.value)

    def check(self) -> None:
        """The prepared dataset holds exactly the official rows."""
        source = mnist.Mnist().open(DataSettings(name="mnist"))
        parts: tuple[Part, ...] = ("train", "test")
        for part in parts:
            x, y = all_rows(source, part)
            np.testing.assert_array_equal(x, self.x[part].reshape(-1, 784))
            assert y == self.y[part].tolist()

    def files_left(self) -> list[str]:
        """What lies in the datasets folder, but for the locks."""
        return sorted(files_in(self.datasets))


@pytest.fixture
def official(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Official:
    return Official(tmp_path, monkeypatch)


@pytest.mark.parametrize("place", [".", "mnist"])
def test_a_mirror_folder_has_the_files_or_a_folder_of_the_datasets_name(official: Official, place: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in official.mirror.rglob("*")}
    assert official.fetch(official.mirror / place) == official.datasets / "mnist"
    official.check()
    assert official.messages == [f"mnist is ready in {official.datasets / 'mnist'}"]
    assert entries(official.datasets) == ["mnist"]
    assert {path: path.stat().st_mtime_ns for path in official.mirror.rglob("*")} == before


def test_a_dataset_that_is_there_is_not_fetched_again_unless_forced(official: Official) -> None:
    official.fetch(official.mirror)
    assert "there is no such folder" in official.refusal(official.mirror / "nowhere")
    official.file().unlink()
    assert official.fetch(official.mirror) == official.datasets / "mnist"
    assert "already" in official.messages[-1]
    assert "neither" in official.refusal(official.mirror, force=True)
    official.check()


@pytest.mark.parametrize(("name", "content"), [("x_train.npy", b""), ("manifest.json", b"5")])
def test_force_prepares_a_damaged_dataset_anew(official: Official, name: str, content: bytes) -> None:
    official.fetch(official.mirror)
    (official.datasets / "mnist" / name).write_bytes(content)
    with pytest.raises(DataError, match="--force"):
        mnist.Mnist().open(DataSettings(name="mnist"))
    official.fetch(official.mirror, force=True)
    official.check()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("train-images-idx3", None, "is not a complete gzip file"),
        ("train-images-idx3", idx(np.ones(7)), "is not an IDX file of 3 axes"),
        ("t10k-images-idx3", idx(np.ones((3, 28, 28)))[:-1], "is truncated or damaged"),
        ("train-labels-idx1", idx(np.ones(5)), "holds 6 images, but its labels file 5 labels"),
    ],
)
def test_official_files_that_do_not_hold_what_they_should(
    official: Official, name: str, content: bytes | None, problem: str
) -> None:
    packed = b"no gzip" if content is None else gzip.compress(content, mtime=0)
    official.contents[f"{name}-ubyte.gz"] = packed
    official.publish()
    assert problem in official.refusal(official.mirror)
    assert official.files_left() == []


def test_ctrl_c_while_files_are_checked_leaves_nothing(official: Official) -> None:
    def interrupt(name: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("mnist", Request(str(official.mirror)), official.messages.append, interrupt)
    assert official.files_left() == []


def test_a_datasets_folder_that_cannot_be_written_is_a_clear_error(official: Official) -> None:
    official.datasets.write_text("a file where the folder should be")
    assert str(official.datasets) in official.refusal(official.mirror)


# --- links, and what stands in the way


@pytest.fixture
def disk(official: Official, tmp_path: Path) -> Path:
    """Another disk, with room for datasets; the datasets folder is there."""
    official.datasets.mkdir()
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


@pytest.mark.parametrize("there", [True, False])
def test_a_link_as_the_datasets_own_folder_stays(official: Official, disk: Path, there: bool) -> None:
    link = official.datasets / "mnist"
    link.symlink_to(disk / "big")
    if there:
        (disk / "big").mkdir()
    for forced in (False, True, True):
        assert official.fetch(official.mirror, force=forced) == disk / "big"
        assert link.is_symlink()
        assert entries(disk) == ["big"]
        assert entries(disk / "big") == ARRAYS
        official.check()
    assert manifest("mnist")["name"] == "mnist"
    check("mnist", official.messages.append)


def test_a_link_whose_disk_is_not_mounted(official: Official, tmp_path: Path) -> None:
    official.datasets.mkdir()
    link = official.datasets / "mnist"
    link.symlink_to(tmp_path / "disk" / "big")
    assert (
        f"{link} is a link to {tmp_path}/disk/big, and there is no folder {tmp_path}/disk: is its disk mounted?"
        in official.refusal(official.mirror)
    )
    assert not (tmp_path / "disk").exists()
    link.unlink()
    link.symlink_to("mnist")
    assert f"{link} is a link that leads back to itself" in official.refusal(official.mirror)
    assert link.is_symlink()


@pytest.mark.parametrize("linked", [True, False])
def test_a_file_in_the_place_of_a_dataset_stays(official: Official, disk: Path, linked: bool) -> None:
    file = disk / "mine" if linked else official.datasets / "mnist"
    file.write_text("mine")
    if linked:
        (official.datasets / "mnist").symlink_to(file)
    message = official.refusal(official.mirror, force=True)
    assert message.endswith("is a file, and a dataset is a folder; move it elsewhere first")
    assert file.read_text() == "mine"


def test_files_of_ones_own_in_a_datasets_folder_stay(official: Official) -> None:
    """The official files in ./datasets/mnist, fetched from there: the dataset must not take their place."""
    official.mirror.rename(official.datasets)
    before = files_in(official.datasets)
    message = official.refusal(official.datasets)
    assert f"{official.datasets / 'mnist'} holds t10k-images-idx3-ubyte.gz, which no preparation made" in message
    assert files_in(official.datasets) == before


def test_a_disk_of_its_own_as_a_datasets_folder(official: Official, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path).name == "mnist")
    assert "is a disk of its own, and another folder cannot take its place" in official.refusal(official.mirror)


@pytest.mark.parametrize("end", ["", "all"])
def test_a_link_as_the_datasets_folder(official: Official, tmp_path: Path, end: str) -> None:
    (tmp_path / "disk").mkdir()
    official.datasets.symlink_to(tmp_path / "disk" / end)
    for forced in (False, True):
        official.fetch(official.mirror, force=forced)
        official.check()
    assert official.datasets.is_symlink()
    assert entries(tmp_path / "disk" / end) == ["mnist"]


@pytest.mark.parametrize("left", [".mnist.old", ".mnist.part"])
@pytest.mark.parametrize("kind", ["link", "file", "dangling link", "folder"])
def test_whatever_was_left_over_does_not_stop_the_next_fetch(
    official: Official, disk: Path, left: str, kind: str
) -> None:
    official.fetch(official.mirror)
    (disk / "precious").write_text("mine")
    place = official.datasets / left
    if kind == "file":
        place.write_text("a file")
    elif kind == "folder":
        place.mkdir()
        (place / "x_train.npy").write_text("old")
    else:
        place.symlink_to(disk if kind == "link" else disk / "nowhere")
    official.fetch(official.mirror, force=True)
    official.check()
    assert entries(official.datasets) == ["mnist"]
    assert (disk / "precious").read_text() == "mine"


@pytest.mark.parametrize("left", [[".mnist.old"], [".mnist.part"], [".mnist.old", ".mnist.part"]])
def test_a_dataset_whose_name_a_crash_has_taken_gets_it_back(official: Official, left: list[str]) -> None:
    official.fetch(official.mirror)
    new = (official.datasets / "mnist").rename(official.datasets / left[-1])
    if len(left) == 2:
        (official.datasets / left[0]).mkdir()
        (official.datasets / left[0] / "manifest.json").write_text("the old one")
    official.fetch(None)  # nothing answers: what is here must do
    official.check()
    assert not new.exists()


def test_a_move_that_fails_keeps_the_old_dataset(official: Official, monkeypatch: pytest.MonkeyPatch) -> None:
    official.fetch(official.mirror)
    rename = Path.rename

    def renamed(path: Path, target: Path) -> Path:
        if path.name == ".mnist.part":
            raise OSError(errno.EBUSY, "Device or resource busy")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", renamed)
    assert "Device or resource busy; nothing was lost" in official.refusal(official.mirror, force=True)
    official.check()


def test_a_dataset_that_is_computed_needs_no_fetch(results: Path) -> None:
    messages: list[str] = []
    assert fetch("swissroll", Request(), messages.append, lambda *_: None) is None
    assert "nothing to fetch" in messages[0]
    check("swissroll", messages.append)
    assert "nothing to fetch" in messages[1]


@pytest.fixture
def server(official: Official) -> Iterator[str]:
    """The mirror folder over HTTP: its address."""
    with Server() as server:
        server.folder = official.mirror
        yield server.url("")


@pytest.mark.parametrize("end", ["", "/", "/mnist"])
def test_an_address_as_a_mirror(official: Official, server: str, end: str) -> None:
    official.fetch(server + end)
    official.check()
    assert official.files_left() == [f"mnist/{name}" for name in ARRAYS]


def test_a_download_that_was_complete_is_used_by_the_next_attempt(official: Official, server: str) -> None:
    labels = official.file("t10k-labels-idx1-ubyte.gz")
    content = labels.read_bytes()
    labels.unlink()
    message = official.refusal(server)
    assert all(f"{server}/{place}{labels.name}: HTTP 404" in message for place in ("mnist/", ""))
    labels.write_bytes(content)
    official.file().unlink()  # this one was complete
    official.fetch(server)
    official.check()


@pytest.mark.parametrize("address", ["http://", "http://[::1", "http://127.0.0.1:port"])
def test_what_is_no_address_is_refused_before_anything_is_tried(official: Official, address: str) -> None:
    assert f"--mirror {address}: not an address" in official.refusal(address)
    assert not official.datasets.exists()


# --- what is kept, checked and replaced


def test_keep_raw_keeps_what_was_downloaded_and_says_where(official: Official, server: str) -> None:
    official.fetch(server, keep_raw=True)
    raw = official.datasets / ".raw" / "mnist"
    assert files_in(raw) == official.contents
    assert any(str(raw) in line for line in official.messages)
    official.fetch(None, force=True)  # no network is needed any more
    official.check()


@pytest.mark.parametrize("place", [".raw", ".raw/mnist"])
def test_a_link_as_the_folder_of_downloads(official: Official, server: str, disk: Path, place: str) -> None:
    link = official.datasets / place
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(disk)
    raw = official.datasets / ".raw" / "mnist"
    raw.mkdir(exist_ok=True)
    (raw / "letter.txt").write_text("mine")
    official.fetch(server, keep_raw=True)
    assert entries(raw) == sorted([*official.contents, "letter.txt"])
    official.fetch(server, force=True)
    official.check()
    assert link.is_symlink()
    assert files_in(raw) == {"letter.txt": b"mine"}


def test_what_is_given_is_not_cleared_away(official: Official, server: str) -> None:
    official.fetch(server, keep_raw=True)
    raw = official.datasets / ".raw" / "mnist"
    kept = [raw / name for name in official.contents]
    official.fetch(raw.parent, force=True)
    assert entries(raw) == sorted(official.contents)
    official.fetch(None, files=kept, force=True)
    assert entries(raw) == sorted(official.contents)


def test_the_manifest_records_every_official_file(official: Official) -> None:
    official.fetch(official.mirror)
    found = manifest("mnist")
    assert found["official"] is True
    assert found["sources"] == [
        {"file": file.name, "bytes": file.bytes, "sha256": file.sha256, "official": True}
        for file in mnist.Mnist.card.files
    ]
    assert sorted(found["arrays"]) == ARRAYS[1:]
    for name, array in found["arrays"].items():
        content = (official.datasets / "mnist" / name).read_bytes()
        assert array == {"bytes": len(content), "sha256": sha256(content)}
    assert found["parts"]["train"] == {
        "x": "x_train.npy",
        "y": "y_train.npy",
        "start": 0,
        "rows": 6,
        "label_counts": {"0": 1, "1": 1, "2": 1, "4": 1, "5": 1, "9": 1},
    }


def flip(path: Path) -> None:
    """Change the last byte of a file."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "has changed": flip,
    "bytes instead of": lambda path: cut(path, -1),
    "is missing": Path.unlink,
}


@pytest.mark.parametrize("problem", DAMAGES)
@pytest.mark.parametrize("names", [["x_train.npy"], ["y_test.npy"], ["x_train.npy", "y_train.npy"]])
def test_verify_names_every_damaged_array_and_the_cure(official: Official, names: list[str], problem: str) -> None:
    official.fetch(official.mirror)
    before = files_in(official.datasets)
    check("mnist", official.messages.append)
    assert official.messages[-1] == "mnist: all 4 arrays are as they were prepared"
    assert files_in(official.datasets) == before
    paths = [official.datasets / "mnist" / name for name in names]
    for path in paths:
        DAMAGES[problem](path)
    with pytest.raises(DataError) as caught:
        check("mnist", official.messages.append)
    *lines, cure = str(caught.value).splitlines()
    assert all(str(path) in line and problem in line for path, line in zip(paths, lines, strict=True))
    assert "admmctl fetch mnist --force" in cure


def test_a_dataset_of_an_older_version_is_no_good_and_is_fetched_anew_without_force(official: Official) -> None:
    """The first release wrote no ``arrays`` and called its preparation version 1."""
    official.fetch(official.mirror)
    old = {**manifest("mnist"), "version": 1}
    del old["arrays"]
    (official.datasets / "mnist" / "manifest.json").write_text(json.dumps(old))
    with pytest.raises(DataError, match="admmctl fetch mnist --force"):
        check("mnist", official.messages.append)
    official.fetch(official.mirror)
    official.check()


def test_a_full_disk_is_a_clear_error_and_the_next_fetch_goes_on(
    official: Official, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = prepared.Growing.append

    def full(self: prepared.Growing, x: Any, y: Any) -> None:
        append(self, x[:2], y[:2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(prepared.Growing, "append", full)
        message = official.refusal(official.mirror)
    assert "No space left on device" in message
    with pytest.raises(DataError, match="is not in"):
        mnist.Mnist().open(DataSettings(name="mnist"))
    official.fetch(official.mirror)
    official.check()
    assert entries(official.datasets) == ["mnist"]


# --- which arguments are datasets and which files


def test_files_of_a_glob_after_from_are_told_from_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.gz", "b.gz", "mnist"):
        Path(name).touch()
    a, b = Path("a.gz"), Path("b.gz")
    assert split_names(["mnist", "b.gz"], [a]) == (["mnist"], [a, b])
    assert split_names(["b.gz", "mnist"], [a]) == (["mnist"], [a, b])
    assert split_names(["mnist", "cifar10"], []) == (["mnist", "cifar10"], [])
    assert split_names(["a.gz"], []) == (["a.gz"], [])  # without --from, it is always a name


def test_files_are_for_one_dataset() -> None:
    with pytest.raises(UserError, match="--from: name one dataset that the files are for, not 2"):
        split_names(["mnist", "higgs"], [Path("a.gz")])
