"""SVHN: official-format files pixel by pixel, the extra digits, HOG features, files that are something else."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from support.small_data import Array, all_rows, cut, entries, files_in, get, manifest, refusal, stopped

from admmctl.comm import Serial
from admmctl.data import shards, svhn
from admmctl.data.dataset import Part, Source
from admmctl.data.hog import HogSettings, hog
from admmctl.data.prepared import StoredSource
from admmctl.data.svhn import ChosenSource, Svhn, SvhnHog, SvhnHogSettings, SvhnPixelSettings, SvhnSettings
from admmctl.errors import DataError

COUNTS = {"train": 25, "test": 12, "extra": 31}
PARTS: tuple[Part, ...] = ("train", "test", "extra")


def digits(part: str) -> tuple[Array, Array]:
    """Random images (n, 32, 32, 3) and labels 0 to 9."""
    generator = np.random.default_rng(list(COUNTS).index(part))
    count = COUNTS[part]
    images = generator.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    return images, (np.arange(count) * 7 + 3 * len(part)) % 10


def save(path: Path, images: Array, labels: Array, **options: Any) -> Path:
    """A file as the official ones are: X (32, 32, 3, n), y (n, 1) with 10 for the digit 0, compressed."""
    y = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
    savemat(path, {"X": np.moveaxis(images, 0, -1), "y": y}, do_compression=True, **options)
    return path


@pytest.fixture
def mine(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the three files under their official names; seven images are read at a time."""
    (tmp_path / "mine").mkdir()
    for part in COUNTS:
        save(tmp_path / "mine" / f"{part}_32x32.mat", *digits(part))
    monkeypatch.setattr(svhn, "_BLOCK", 7)
    return tmp_path / "mine"


def files(mine: Path, *parts: str) -> list[Path]:
    return [mine / f"{part}_32x32.mat" for part in parts]


def opened(**options: Any) -> Source:
    return Svhn().open(SvhnPixelSettings(**options))


def check(source: Source, part: Part, *expected: str) -> None:
    """``part`` holds the digits of the files ``expected``, one after another."""
    x, labels = all_rows(source, part)
    images = np.concatenate([digits(name)[0] for name in expected])
    np.testing.assert_array_equal(x, images.reshape(len(images), -1))
    assert labels == [label for name in expected for label in digits(name)[1].tolist()]


# --- pixels and labels


def test_pixels_and_labels_are_exact_and_ten_means_zero(mine: Path, tmp_path: Path) -> None:
    messages = get("svhn", *files(mine, "train", "test"))
    assert any("train_32x32.mat is not the official train_32x32.mat" in line for line in messages)
    source = opened()
    assert (source.features, source.labels_known) == (3072, tuple(range(10)))
    stored = source.stored("train", range(25)).reshape(25, 32, 32, 3)
    np.testing.assert_array_equal(stored, digits("train")[0])
    check(source, "train", "train")
    check(source, "test", "test")
    assert entries(tmp_path / "datasets") == ["svhn"]


def test_training_digits_alone_make_a_dataset_without_a_test_set(mine: Path) -> None:
    get("svhn", *files(mine, "train"))
    source = opened()
    assert [source.rows(part) for part in PARTS] == [25, 0, 0]
    with pytest.raises(DataError, match=r"data\.test: svhn has no official test set"):
        shards.plan(SvhnSettings(), 1)
    plan = shards.plan(SvhnSettings(test=0.2), 1)
    assert (plan.rows_train, plan.rows_test) == (20, 5)


@pytest.mark.parametrize("names", [["my_train.mat", "my_test.mat"], ["TRAIN_32x32.mat", "Test.MAT"]])
def test_files_are_told_by_what_their_names_contain(mine: Path, names: list[str]) -> None:
    found = [path.rename(mine / name) for path, name in zip(files(mine, "train", "test"), names, strict=True)]
    get("svhn", *reversed(found))
    check(opened(), "train", "train")
    check(opened(), "test", "test")


def test_a_folder_of_the_official_files(mine: Path) -> None:
    """As torchvision leaves them; the extra digits, which take long, only where they are asked for."""
    (mine / "notes.txt").write_text("mine")
    get("svhn", mine)
    check(opened(), "train", "train")
    assert opened().rows("extra") == 0
    get("svhn", mine, extra=True)
    check(opened(use="extra"), "train", "extra")
    (mine / "train_32x32.mat").unlink()
    (mine / "extra_32x32.mat").unlink()
    assert "svhn needs train_32x32.mat" in refusal("svhn", mine)


@pytest.mark.parametrize(
    "names", [["digits.mat"], ["test_32x32.mat"], ["train_1.mat", "train_2.mat"], ["traintest.mat"]]
)
def test_files_that_cannot_be_told_are_refused_with_the_official_names(mine: Path, names: list[str]) -> None:
    for name in names:
        (mine / name).touch()
    message = refusal("svhn", *[mine / name for name in names])
    assert "--from" in message
    assert "train_32x32.mat" in message


@pytest.mark.parametrize("format", ["5", "no compression", "one long line of labels", "labels as doubles"])
def test_other_ways_to_save_the_same_digits(mine: Path, format: str) -> None:
    images, labels = digits("train")
    y = np.where(labels == 0, 10, labels).astype(float)[:, None]
    y = {"one long line of labels": y.T, "labels as doubles": y}.get(format, y.astype(np.uint8))
    path = mine / "train_32x32.mat"
    savemat(path, {"y": y, "X": np.moveaxis(images, 0, -1)}, do_compression=format != "no compression")
    get("svhn", path)
    check(opened(), "train", "train")


@pytest.mark.parametrize("axes", [3, 4])
def test_a_single_digit(mine: Path, axes: int) -> None:
    """MATLAB drops a last axis of one."""
    images, _ = digits("train")
    x = images[0] if axes == 3 else images[0][..., None]
    savemat(mine / "test_32x32.mat", {"X": x, "y": np.array([[10]], np.uint8)})
    get("svhn", *files(mine, "train", "test"))
    found, labels = all_rows(opened(), "test")
    np.testing.assert_array_equal(found, images[:1].reshape(1, -1))
    assert labels == [0]


def test_a_preparation_goes_on_where_it_stopped(mine: Path, tmp_path: Path) -> None:
    paths = files(mine, "train", "test", "extra")
    get("svhn", *paths, extra=True)
    unbroken = files_in(tmp_path / "datasets")
    # The files are read in pieces of 7 digits: 4 for the 25, 2 for the 12, 5 for the 31.
    for after in (1, 4, 5, 6, 7, 11):
        stopped("svhn", after, *paths, extra=True)
        get("svhn", *paths, extra=True)
        assert files_in(tmp_path / "datasets") == unbroken


# --- the extra digits


@pytest.mark.parametrize("extra", [True, False])  # says what to download: what is there can be trained on
def test_extra_digits_are_stored_and_not_trained_on_unless_asked_for(mine: Path, extra: bool) -> None:
    get("svhn", *files(mine, "train", "test", "extra"), extra=extra)
    check(opened(), "train", "train")
    check(opened(use="extra"), "train", "extra")
    check(opened(use="both"), "train", "train", "extra")
    for use in ("train", "extra", "both"):
        check(opened(use=use), "test", "test")


@pytest.mark.parametrize("name", ["svhn", "svhn-hog"])
@pytest.mark.parametrize("use", ["extra", "both"])
def test_extra_digits_that_are_not_here_name_the_line_that_fetches_them(mine: Path, name: str, use: str) -> None:
    get("svhn", *files(mine, "train", "test"))
    settings = {"svhn": SvhnSettings, "svhn-hog": SvhnHogSettings}[name]
    with pytest.raises(DataError, match=rf"data\.use: {use} needs .*; run: admmctl fetch svhn --extra"):
        shards.plan(settings(use=use), 1)  # type: ignore[arg-type]


def test_extra_digits_that_were_asked_for_and_not_given_are_missed(mine: Path) -> None:
    """Never may ``use: both`` quietly be the training digits alone."""
    with suppress(DataError):  # refused at once is as good
        get("svhn", *files(mine, "train", "test"), extra=True)
    with pytest.raises(DataError, match="fetch svhn"):
        opened(use="both")


def test_extra_digits_that_are_here_are_not_lost_by_a_plain_fetch(mine: Path, tmp_path: Path) -> None:
    get("svhn", *files(mine, "train", "test", "extra"), extra=True)
    before = files_in(tmp_path / "datasets")
    messages = get("svhn", mirror=str(mine / ".."))  # this mirror has nothing: it must not be needed
    assert "already" in messages[0]
    assert files_in(tmp_path / "datasets") == before


def test_extra_digits_alone(mine: Path) -> None:
    get("svhn", *files(mine, "extra"), extra=True)
    check(opened(use="extra"), "train", "extra")
    with pytest.raises(DataError) as caught:
        shards.plan(SvhnSettings(test=0.2), 1)
    assert "--cores 0" not in str(caught.value)


def test_any_rows_of_both_in_any_order(mine: Path) -> None:
    get("svhn", *files(mine, "train", "test", "extra"), extra=True)
    source = opened(use="both")
    assert isinstance(source, ChosenSource)
    everything, labels = all_rows(source)
    chosen = np.array([55, 0, 24, 25, 26, 24])
    out = np.empty((6, 3072), np.float32)
    source.inputs("train", chosen, out)
    np.testing.assert_array_equal(out, everything[chosen])
    np.testing.assert_array_equal(source.stored("train", range(20, 30)), everything[20:30])
    np.testing.assert_array_equal(source.labels("train", chosen), np.array(labels)[chosen])


# --- classes and features


@pytest.mark.parametrize("use", ["train", "both"])
def test_zero_against_two_in_features_through_the_split(mine: Path, use: str) -> None:
    get("svhn", *files(mine, "train", "test", "extra"), extra=True)
    plan = shards.plan(SvhnHogSettings(use=use, classes=[0, 2], scale="none"), 1)  # type: ignore[arg-type]
    own = shards.load(plan, Serial())
    names = {"train": ["train"], "both": ["train", "extra"]}[use]
    for shard, parts in ((own.train, names), (own.test, ["test"])):
        images = np.concatenate([digits(part)[0] for part in parts])
        labels = np.concatenate([digits(part)[1] for part in parts])
        chosen = np.flatnonzero((labels == 0) | (labels == 2))
        assert len(chosen)
        assert shard.labels.tolist() == (labels[chosen] == 2).tolist()
        expected = np.empty((len(chosen), 648), np.float32)
        hog(images[chosen], HogSettings(), expected)
        np.testing.assert_array_equal(shard.a0[:-1].T, expected)


@pytest.mark.parametrize(
    ("changed", "count"),
    [({}, 648), ({"orientations": 9}, 324), ({"cell": 4, "stride": 2, "signed": False}, 1152)],
)
def test_the_parameters_of_the_features_are_settings(mine: Path, changed: dict[str, Any], count: int) -> None:
    get("svhn", *files(mine, "train", "test"))
    source = SvhnHog().open(SvhnHogSettings(hog=HogSettings(**changed)))
    assert source.features == count
    found, labels = all_rows(source)
    expected = np.empty((25, count), np.float32)
    hog(digits("train")[0], HogSettings(**changed), expected)
    np.testing.assert_array_equal(found, expected)
    assert labels == digits("train")[1].tolist()


def test_pixels_and_features_share_one_folder(mine: Path, tmp_path: Path) -> None:
    get("svhn-hog", *files(mine, "train", "test"))
    assert entries(tmp_path / "datasets") == ["svhn"]
    check(opened(), "train", "train")
    assert SvhnHog().open(SvhnHogSettings()).fingerprint() == opened().fingerprint()
    assert manifest("svhn")["name"] == "svhn"


@pytest.mark.parametrize("use", ["train", "both"])
def test_planes_are_the_same_pixels_colour_by_colour(mine: Path, use: str) -> None:
    get("svhn", *files(mine, *PARTS), extra=True)
    stored, planes = (opened(use=use, planes=planes) for planes in (False, True))
    (x, labels), (found, same) = all_rows(stored), all_rows(planes)
    np.testing.assert_array_equal(found.reshape(-1, 3, 32, 32), x.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2))
    assert labels == same
    assert (planes.features, planes.labels_known) == (3072, tuple(range(10)))
    assert planes.fingerprint() == stored.fingerprint()


# --- files that are something else

X, Y = np.moveaxis(digits("train")[0], 0, -1), (digits("train")[1] % 10 + 1)[:, None]
OTHERS: dict[str, dict[str, Any]] = {
    "no labels": {"X": X},
    "no images": {"y": Y},
    "another variable": {"X": X, "y": Y, "z": Y},
    "other names": {"images": X, "labels": Y},
    "images first": {"X": np.moveaxis(X, -1, 0), "y": Y},
    "grey images": {"X": X[:, :, 0], "y": Y},
    "smaller images": {"X": X[:28, :28], "y": Y},
    "a fourth colour": {"X": np.concatenate([X, X[:, :, :1]], axis=2), "y": Y},
    "more axes": {"X": X[..., None], "y": Y},
    "too few labels": {"X": X, "y": Y[:-1]},
    "too many labels": {"X": X, "y": np.concatenate([Y, Y])},
    "a label of 11": {"X": X, "y": np.where(np.arange(25) == 7, 11, Y[:, 0])[:, None]},
    "a label of -1": {"X": X, "y": np.where(np.arange(25) == 7, -1, Y[:, 0]).astype(np.int8)[:, None]},
    "half a label": {"X": X, "y": np.where(np.arange(25) == 7, 1.5, Y[:, 0])[:, None]},
    "a label that is no number": {"X": X, "y": np.where(np.arange(25) == 7, np.nan, Y[:, 0])[:, None]},
    "images as fractions": {"X": X / 255.0, "y": Y},
    "images of 16 bits": {"X": X.astype(np.uint16) * 257, "y": Y},
    "images with negative numbers": {"X": X.astype(np.int16) - 128, "y": Y},
}


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
@pytest.mark.parametrize("other", OTHERS)
def test_a_file_that_holds_something_else_is_named_and_makes_no_dataset(
    mine: Path, tmp_path: Path, other: str
) -> None:
    path = mine / "train_32x32.mat"
    savemat(path, OTHERS[other], do_compression=True)
    message = refusal("svhn", *files(mine, "train", "test"))
    assert str(path) in message
    assert entries(tmp_path / "datasets") == []


@pytest.mark.parametrize("keep", [0, 100, 128, 136, 500, -1, -300])
def test_a_truncated_file_names_itself_and_the_remedy_and_makes_no_dataset(
    mine: Path, tmp_path: Path, keep: int
) -> None:
    path = mine / "test_32x32.mat"
    cut(path, keep)
    message = refusal("svhn", *files(mine, "train", "test"))
    assert str(path) in message
    assert "admmctl fetch svhn" in message
    assert entries(tmp_path / "datasets") == []


# --- the real thing


@pytest.mark.data
def test_the_real_digits_come_back_as_they_are(mirror: Path, results: Path, tmp_path: Path) -> None:
    with np.load(mirror / "svhn" / "svhn_train_first1083.npz") as real:
        images, labels = real["X"], real["y"]
    assert images.shape == (1083, 32, 32, 3)
    get("svhn", save(tmp_path / "train.mat", images, labels))
    source = Svhn().open(SvhnSettings())
    assert isinstance(source, StoredSource)
    np.testing.assert_array_equal(source.stored("train", range(1083)), images.reshape(1083, -1))
    np.testing.assert_array_equal(source.labels("train", range(1083)), labels)
    assert source.labels_known == tuple(range(10))

    plan = shards.plan(SvhnHogSettings(classes=[0, 2], test=0.25), 1)
    own = shards.load(plan, Serial())
    assert own.train.a0.shape[0] == 649
    assert own.train.total + own.test.total == int(np.isin(labels, [0, 2]).sum())


@pytest.mark.data
def test_the_real_truncated_file_names_itself_and_the_remedy(mirror: Path, results: Path, tmp_path: Path) -> None:
    path = mirror / "svhn" / "train_32x32.mat.first2686976bytes"
    message = refusal("svhn", path)
    assert f"{path} is truncated: it ends at byte 2,686,976" in message
    assert "admmctl fetch svhn" in message
    assert entries(tmp_path / "datasets") == []
    with pytest.raises(DataError, match="run: admmctl fetch svhn"):
        opened()
