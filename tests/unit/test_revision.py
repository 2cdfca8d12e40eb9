"""The commit that ``--version`` and records name is that of admmctl, and of no repository around it."""

import subprocess
from pathlib import Path

import pytest

from admmctl import revision

NOBODY = ["-c", "user.name=n", "-c", "user.email=n@n", "-c", "commit.gpgsign=false"]


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *NOBODY, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that admmctl seems to lie in."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "admmctl"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.setattr(revision, "__file__", str(folder / "revision.py"))
    revision.git_state.cache_clear()
    yield folder
    revision.git_state.cache_clear()


def commit(repository: Path, *files: str) -> str:
    git(repository, "init", "-q")
    git(repository, "add", *files)
    git(repository, "commit", "-q", "-m", "one", "--no-verify")
    return git(repository, "rev-parse", "HEAD")


def test_a_checkout_has_a_commit_and_may_have_changes(package: Path) -> None:
    known = commit(package.parent, "admmctl/__init__.py")
    assert revision.git_state() == (known, False)
    assert revision.version_text("1.2") == f"admmctl 1.2 (commit {known[:12]})"
    (package / "__init__.py").write_text("changed = True")
    revision.git_state.cache_clear()
    assert revision.version_text("1.2") == f"admmctl 1.2 (commit {known[:12]}, and changes)"


def test_outside_a_repository_there_is_none(package: Path) -> None:
    assert revision.git_state() == (None, None)
    assert revision.version_text("1.2") == "admmctl 1.2"


def test_a_repository_around_it_is_another(package: Path, tmp_path: Path) -> None:
    """As where a project has its virtual environment inside."""
    inside = tmp_path / "lib" / "site-packages" / "admmctl"
    inside.parent.mkdir(parents=True)
    package.rename(inside)
    (tmp_path / "theirs.py").write_text("")
    commit(tmp_path, "theirs.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(revision, "__file__", str(inside / "revision.py"))
        assert revision.git_state() == (None, None)
        git(tmp_path, "add", "lib")
        git(tmp_path, "commit", "-q", "-m", "two", "--no-verify")
        revision.git_state.cache_clear()
        assert revision.git_state() == (None, None)


def test_a_repository_that_does_not_have_it_is_another(package: Path) -> None:
    (package.parent / "theirs.py").write_text("")
    commit(package.parent, "theirs.py")
    assert revision.git_state() == (None, None)


def test_a_hook_of_another_repository_changes_nothing(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("")
    commit(other, "file")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert revision.git_state() == (None, None)


def test_without_git_there_is_none(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(package.parent, "admmctl/__init__.py")
    monkeypatch.setenv("PATH", "")
    assert revision.git_state() == (None, None)
