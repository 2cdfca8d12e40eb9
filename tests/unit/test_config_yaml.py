"""Experiment files as YAML, and what ``--set`` changes in them."""

from pathlib import Path

import pytest
from support.sheet import TEXT, Sheet

from admmctl.errors import UserError
from admmctl.experiment.config import ConfigError, load
from admmctl.experiment.yamlfile import dump, parse_value

# --- YAML itself


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name: x\ndata: {name: mnist\nloss: y\n", 3),
        ("name: x\n\tdata: 1\n", 2),
        ("name: x\nloss: *nothing\n", 2),
        ("name: x\n---\nname: y\n", 2),
        ("name: x\nloss: !!python/object:os.system ls\n", 2),
    ],
)
def test_broken_yaml_is_told_with_its_line(sheet: Sheet, text: str, line: int) -> None:
    sheet.path.write_text(text)
    (message,) = sheet.refusal()
    assert message.startswith(f"tiny.yaml:{line}: not valid YAML")


@pytest.mark.parametrize(
    "value",
    [
        "2020-13-45",  # a date that is none
        "0b_",  # a binary number without digits
        "!!int x",
        "9" * 5000,  # more digits than Python converts
        "o\x07k",  # a control character
        "\n? [a, b]\n: 1",  # a list as a key
        "\n? {a: b}\n: 1",
        "[" * 3000,
        "&a [*a]",  # a list that holds itself
    ],
    ids=["date", "binary", "int-tag", "digits", "control", "list-key", "mapping-key", "deep", "recursive"],
)
def test_strange_yaml_is_a_problem_of_the_file_and_not_of_the_program(sheet: Sheet, value: str) -> None:
    assert sheet.change("seed: 7", f"seed: {value}").refusal()[0].startswith("tiny.yaml:")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed: 7", "seed: 7\nname: again", "tiny.yaml:11: name is given twice, first in line 1"),
        ("beta: 1.0, gamma: 10.0", "beta: 1.0, beta: 2.0", "tiny.yaml:6: methods.admm.beta is given twice"),
        ("  other:", "  admm:", "tiny.yaml:7: methods.admm is given twice, first in line 6"),
    ],
)
def test_a_key_that_is_given_twice_is_refused(sheet: Sheet, old: str, new: str, message: str) -> None:
    assert sheet.change(old, new).refusal()[0].startswith(message)


@pytest.mark.parametrize(
    ("written", "read"), [("0123", 83), ("010", 8), ("-07", -7), ("00", 0), ("1:30", 90), ("1:30.5", 90.5)]
)
def test_a_number_that_yaml_reads_as_another_is_refused(sheet: Sheet, written: str, read: float) -> None:
    said = f"{written} would be read as {read}; write the number without zeros before it"
    assert sheet.change("seed: 7", f"seed: {written}").refusal()[0].startswith(f"tiny.yaml:10: seed: {said}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=0123", "seed: 0123 would be read as 83"),
        ("network.layers=[5, 010]", "network.layers.1: 010 would be read as 8"),
        ("methods.admm={beta: 1:30}", "methods.admm.beta: 1:30 would be read as 90"),
        ("methods.admm={beta: 1, beta: 2}", "methods.admm.beta is given twice"),
        ("methods={010: {kind: admm}}", "methods.010: 010 would be read as 8"),
        ("sweep.space.admm={beta: [!!float '0:30', 1]}", "sweep.space.admm.beta.0: 0:30 would be read as 30"),
    ],
)
def test_the_same_holds_for_set(sheet: Sheet, override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        sheet.load(override)
    assert str(caught.value).startswith(f"--set {override}: {message}")


@pytest.mark.parametrize(
    ("written", "value"),
    [("0", 0), ("+5", 5), ("-3", -3), ("0x10", 16), ("1_000", 1000), ("'010'", "010"), ("01.5", 1.5)],
)
def test_a_number_that_reads_as_it_is_written_is_one(written: str, value: object) -> None:
    assert parse_value(written, f"key={written}") == value


@pytest.mark.parametrize("value", ["010", "1e3", "1:30", "1e-3", 1e-3, 1e-30, 8, True, "yes", None, ".5"])
def test_what_is_written_is_read_back(value: object) -> None:
    assert parse_value(dump({"key": value}), "") == {"key": value}


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "- a\n- b\n", "just words\n", "3\n", "---\n"])
def test_a_file_without_a_mapping_says_what_an_experiment_is(sheet: Sheet, text: str) -> None:
    sheet.path.write_text(text)
    assert "an experiment is a mapping with the keys name, data, network" in sheet.refusal()[0]


def test_a_missing_file_names_those_nearby(tmp_path: Path, sheet: Sheet) -> None:
    for name, nearby in (("tinny.yaml", f"; there is: {sheet.path}"), ("nowhere/tiny.yaml", "")):
        with pytest.raises(ConfigError) as caught:
            load(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: there is no such file{nearby}"


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00name"], ids=["folder", "binary"])
def test_a_folder_or_a_binary_file_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "thing.yaml"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"thing\.yaml: (cannot be read|not valid YAML)"):
        load(path)


def test_windows_line_ends_and_a_byte_order_mark_are_fine(sheet: Sheet) -> None:
    expected = sheet.run().hash()
    sheet.path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert sheet.run().hash() == expected


# --- --set


def test_set_changes_one_key(sheet: Sheet) -> None:
    run = sheet.run("methods.admm.ridge=1e-5", "seed=3", "network.layers=[9]", "data.classes=[1, 0]")
    assert run.settings.plain() == {**sheet.run().settings.plain(), "ridge": 1e-5}
    assert (run.seed, run.network.layers, run.data.classes) == (3, [9], [1, 0])
    assert sheet.run("stop.target=").stop.target is None


def test_set_makes_blocks_that_the_file_does_not_have(sheet: Sheet) -> None:
    sheet.change("evaluate: {every: 2, unit: iteration}\n", "").change("{beta: 1.0, gamma: 10.0}", "")
    runs = sheet.load("evaluate.every=4", "methods.admm.stop.seconds=2", "methods.third.kind=admm").runs
    assert list(runs) == ["admm", "other", "third"]
    assert (runs["admm"].evaluate.every, runs["admm"].stop.seconds) == (4, 2)


def test_set_to_a_mapping_replaces_the_whole_block(sheet: Sheet) -> None:
    run = sheet.run("stop={seconds: 4}", "methods.admm={ridge: 0.5}")
    assert (run.stop.seconds, run.stop.target, run.stop.iterations) == (4, None, None)
    assert run.settings.plain()["ridge"] == 0.5
    assert list(sheet.load("methods={only: {kind: admm}}").runs) == ["only"]


def test_the_last_set_of_a_key_wins_and_they_build_on_each_other(sheet: Sheet) -> None:
    run = sheet.run("stop={seconds: 4}", "stop.target=0.5", "stop.target=0.6")
    assert (run.stop.seconds, run.stop.target) == (4, 0.6)


@pytest.mark.parametrize("quote", ['"', "'"])
def test_set_reaches_a_name_with_a_dot_in_quotes(sheet: Sheet, quote: str) -> None:
    sheet.change("  other: {kind: admm, gamma: 5.0}", "  relu-0.005: {kind: admm, gamma: 5.0}")
    key = f"methods.{quote}relu-0.005{quote}"
    runs = sheet.load(f"{key}.ridge=1e-5", f"{key}.stop={{seconds: 2}}").runs
    assert list(runs) == ["admm", "relu-0.005"]
    assert (runs["relu-0.005"].settings.plain()["ridge"], runs["relu-0.005"].stop.seconds) == (1e-5, 2)
    assert sheet.load("methods={}", f"{key}={{kind: admm, ridge: 0.5}}").runs.keys() == {"relu-0.005"}
    (line,) = sheet.refusal(f"{key}.rige=1")
    assert f"--set {key}.rige=1 (tiny.yaml:7): methods.relu-0.005.rige: unknown key 'rige'" in line


def test_a_name_with_a_dot_and_no_quotes_is_answered_with_the_line_that_has_them(sheet: Sheet) -> None:
    sheet.change("  other: {kind: admm, gamma: 5.0}", "  relu-0.005: {kind: admm, gamma: 5.0}")
    with pytest.raises(UserError) as caught:
        sheet.load("methods.relu-0.005.stop.seconds=2")
    assert str(caught.value).endswith("""stands in quotes: --set 'methods."relu-0.005".stop.seconds=2'""")
    assert sheet.load("methods.relu-0.kind=admm").runs.keys() >= {"relu-0", "relu-0.005"}


def test_a_value_may_hold_an_equals_sign(sheet: Sheet) -> None:
    assert "got 'a=b'" in sheet.refusal("methods.admm.init=a=b")[0]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("methods.admm.bta=1", " (tiny.yaml:6): methods.admm.bta: unknown key 'bta'; did you mean 'beta'?"),
        (
            "stop={target: 0.7, iteratons: 1}",
            ": stop.iteratons: unknown key 'iteratons'; did you mean 'iterations'?",
        ),
        ("method.admm.beta=1", ": method: unknown key 'method'; did you mean 'methods'?"),
        ("methods.adm.beta=1", " (tiny.yaml:5): methods.adm: unknown method 'adm'; did you mean 'admm'?"),
    ],
)
def test_what_set_misspells_names_the_option_the_line_and_the_nearest_key(
    sheet: Sheet, override: str, message: str
) -> None:
    assert sheet.refusal(override)[0].startswith(f"--set {override}{message}")


@pytest.mark.parametrize("override", ["seed", "=3", "", "   =3", "."])
def test_set_without_a_key_or_a_value_says_what_is_expected(sheet: Sheet, override: str) -> None:
    with pytest.raises(UserError, match="expected key=value, for instance methods") as caught:
        sheet.load(override)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("override", ["name.first=3", "network.layers.0=3", "seed.a.b=1"])
def test_set_below_something_that_is_no_block_is_refused(sheet: Sheet, override: str) -> None:
    with pytest.raises(UserError, match=r"is not a block with keys"):
        sheet.load(override)


@pytest.mark.parametrize(
    "value",
    ["[1, 2", "{a: ", "*x", "a: b: c", "2020-13-45", "0b_", "[" * 3000, "9" * 5000, "{[a]: 1}", "'\x07'"],
    ids=["list", "mapping", "alias", "colons", "date", "binary", "deep", "digits", "list-key", "control"],
)
def test_bad_yaml_in_set_is_one_line_that_names_the_option(sheet: Sheet, value: str) -> None:
    with pytest.raises(UserError, match="not valid YAML") as caught:
        sheet.load(f"seed={value}")
    assert str(caught.value).startswith("--set seed=")
    assert "\n" not in str(caught.value)
