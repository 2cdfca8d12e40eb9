"""Experiment files are parsed once for each content, and nobody sees what another has made of it."""

from pathlib import Path

import pytest

from admmctl.errors import ConfigError
from admmctl.experiment import yamlfile


def test_a_document_is_its_own_and_a_change_of_the_file_shows_at_once(tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text("name: one\ndata: {rows: 10}\n")
    first = yamlfile.read(file)
    first.content["data"]["rows"] = 99
    first.lines.clear()
    second = yamlfile.read(file)
    assert second.content == {"name": "one", "data": {"rows": 10}}
    assert second.lines == {("name",): 1, ("data",): 2, ("data", "rows"): 2}
    file.write_text("name: one\ndata: {rows: 11}\n")  # as long as before
    assert yamlfile.read(file).content["data"] == {"rows": 11}


def test_the_same_mistake_is_told_each_time_with_the_file_it_is_in(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml", "a.yaml"):
        file = tmp_path / name
        file.write_text("name: x\nname: y\n")
        with pytest.raises(ConfigError, match=f"{file}:2: name is given twice, first in line 1"):
            yamlfile.read(file)
        file.write_text("name: [x\n")
        with pytest.raises(ConfigError, match=f"{file}:.*not valid YAML"):
            yamlfile.read(file)
