"""Files that a program makes up: in official formats, of a known rule, the same by any number of processes."""

import gzip
import re
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import loadmat
from support.scripts import made_up_data
from support.small_data import get, manifest

from admmctl.data.hog import HogSettings, features, hog
from admmctl.data.svhn import FILES, read_digits

HIGGS, SVHN = 4e-4, 1e-3  # shares of the official rows


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The folder of all four files."""
    folder = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made_up_data, "_CHUNK", 1_000)
        patch.setattr(made_up_data, "_IMAGES", 100)
        made_up_data.make_higgs(folder, HIGGS, jobs=1)
        made_up_data.make_svhn(folder, SVHN, jobs=1)
    return folder


@pytest.fixture(scope="module")
def lines(files):
    with gzip.open(files / "HIGGS.csv.gz") as text:
        return text.read().decode("ascii").splitlines()


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_checksums_of_two_contents_are_that_of_both(first, second):
    for checksum, of_both in (
        (zlib.crc32, made_up_data.crc32_of_both),
        (zlib.adler32, made_up_data.adler32_of_both),
    ):
        assert of_both(checksum(first), checksum(second), len(second)) == checksum(first + second)


def test_higgs_has_the_official_layout(lines):
    assert len(lines) == 4_400
    cell = r"-?\d\.\d{18}e[+-]\d\d"
    row = re.compile(rf"[01]\.0{{18}}e\+00(,{cell}){{28}}")
    assert all(map(row.fullmatch, lines))
    assert len({line.partition(",")[2] for line in lines}) > 0.99 * len(lines)


def test_labels_of_higgs_follow_the_rule_and_no_line_tells_them(lines):
    values = np.array([line.split(",") for line in lines], dtype=np.float64)
    labels, x = values[:, 0] == 1, values[:, 1:]
    right = (made_up_data.score(x[:, :14], x[:, 14:]) > 0) == labels
    assert 0.78 < right.mean() < 0.87
    ones = np.column_stack([x, np.ones(len(x))])
    weights = np.linalg.lstsq(ones, 2.0 * labels - 1, rcond=None)[0]
    assert 0.64 < ((ones @ weights > 0) == labels).mean() < 0.72


def test_several_processes_make_the_same_files(files, tmp_path, monkeypatch):
    monkeypatch.setattr(made_up_data, "_CHUNK", 1_000)
    monkeypatch.setattr(made_up_data, "_IMAGES", 100)
    made_up_data.make_higgs(tmp_path, HIGGS, jobs=2)
    made_up_data.make_svhn(tmp_path, SVHN, jobs=2)
    for path in files.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("part", ["train", "test", "extra"])
def test_another_reader_of_matlab_files_reads_the_same_digits(files, part):
    path = files / FILES[part].name
    found = loadmat(path)
    blocks, labels = read_digits(path, 64)
    assert (found["X"].transpose(3, 0, 1, 2) == np.concatenate(list(blocks))).all()
    assert (found["y"].ravel() % 10 == labels).all()
    assert found["y"].min() == 1
    counts = made_up_data.DIGITS[part]
    assert np.bincount(labels, minlength=10).tolist() == [max(1, round(count * SVHN)) for count in counts]


def test_all_digits_would_be_as_many_as_svhn_has():
    counts = made_up_data.DIGITS
    assert {part: sum(counts[part]) for part in counts} == {"train": 73_257, "test": 26_032, "extra": 531_131}
    assert counts["extra"][0] + counts["extra"][2] == 120_290


def test_features_tell_a_zero_from_a_two():
    """By the nearer mean; noise alone would come to a half."""
    settings, generator = HogSettings(), np.random.default_rng(0)
    sides = []
    for digit in (0, 2):
        images = made_up_data.drawn(np.full(400, digit), generator).transpose(0, 3, 2, 1)
        found = np.empty((400, features(settings)), np.float32)
        hog(np.ascontiguousarray(images), settings, found)
        sides.append(found)
    means = [side[:200].mean(axis=0) for side in sides]
    for one, side in enumerate(sides):
        apart = [np.linalg.norm(side[200:] - mean, axis=1) for mean in means]
        assert (apart[one] < apart[1 - one]).mean() > 0.85


def test_a_fetch_sees_that_they_are_made_up_and_says_so(files, results):
    for name, path, extra in (("higgs", files / "HIGGS.csv.gz", False), ("svhn", files, True)):
        said = get(name, path, **({"extra": True} if extra else {}))
        made = manifest(name)
        assert (made["made_up"], made["official"]) == (True, False)
        assert all(source["made_up"] for source in made["sources"])
        assert sum("is made up" in text for text in said) == len(made["sources"])
    assert [made["parts"][part]["rows"] for part in ("train", "extra")] == [74, 532]


def test_a_file_that_is_not_complete_has_no_name_yet(tmp_path, monkeypatch):
    def broken(make, blocks, jobs):
        yield made_up_data.packed(b"half of it", zlib.crc32)
        raise KeyboardInterrupt

    monkeypatch.setattr(made_up_data, "in_order", broken)
    with pytest.raises(KeyboardInterrupt):
        made_up_data.make_higgs(tmp_path, HIGGS, jobs=1)
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]


@pytest.mark.parametrize("share", ["0", "-1", "1.5"])
def test_a_share_is_above_0_and_at_most_1(tmp_path, capsys, share):
    with pytest.raises(SystemExit) as end:
        made_up_data.main(["higgs", str(tmp_path), "--share", share])
    assert end.value.code == 2
    assert "expected a number above 0" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
