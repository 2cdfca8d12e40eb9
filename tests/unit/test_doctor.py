"""The doctor: what each check finds on machines that lack something, and that it always reports."""

import json
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from support.processes import program

from admmctl import kernels
from admmctl.launch import local
from admmctl.launch.inherited import code
from admmctl.studies import doctor, probes

TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {"name": "swissroll", "rows": 120},
    "network": {"layers": [5]},
    "loss": "squared",
    "methods": {"admm": None},
}


@pytest.fixture
def place(tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without Slurm, with a folder ``bin`` first on its PATH."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/no/other")
    for name in (*local.THREAD_VARIABLES, *(name for name in os.environ if name.startswith("SLURM"))):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def examined(name: str, config: Any = None, cores: int = 1, **options: str) -> list[doctor.Check]:
    """The lines of one check alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "CHECKS", {name: doctor.CHECKS[name]})
        return doctor.doctor(config, cores, **options)


def line(name: str, **options: Any) -> tuple[str, str, str]:
    (found,) = examined(name, **options)
    return found.state, found.detail, found.cure


@pytest.mark.mpi
def test_a_sound_machine_has_no_errors(results: Path) -> None:
    checks = doctor.doctor(TINY)  # type: ignore[arg-type]
    assert [check.name for check in checks if check.name != "disk"] == [n for n in doctor.CHECKS if n != "disk"]
    assert [check for check in checks if check.state == "error"] == []
    by_name = {check.name: check.detail for check in checks}
    assert "MPICH" in by_name["MPI library"]
    assert "an Allreduce of 1 MiB" in by_name["two ranks"]
    assert "tiny needs 0." in by_name["memory"]


def test_a_check_that_breaks_is_an_error_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(patient: Any) -> Any:
        raise ZeroDivisionError("oh")

    monkeypatch.setitem(doctor.CHECKS, "disk", broken)
    assert line("disk") == ("error", "the check itself failed: ZeroDivisionError: oh", "")


def test_a_launcher_of_another_family_is_an_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(place / "bin" / "mpiexec", "print('mpiexec (OpenRTE) 4.1.4')")
    monkeypatch.setenv("ADMMCTL_MPIEXEC", "mpiexec")
    monkeypatch.setattr(probes, "mpi_library", lambda: "MPICH Version: 5.0.2")
    state, detail, cure = line("launcher")
    assert state == "error"
    assert "of Open MPI, but the MPI library of this Python of MPICH" in detail
    assert "ADMMCTL_MPIEXEC" in cure


@pytest.mark.parametrize(
    ("mpiexec", "detail", "cure"),
    [
        # Of a family the library does not know: each process believes to be alone.
        pytest.param(
            "import subprocess, sys\nfor _ in range(2): subprocess.run(sys.argv[3:], check=True)",
            "each believes to be alone",
            "mpich",
            marks=pytest.mark.mpi,
        ),
        ("import sys\nsys.exit('cannot resolve this host')", "exit code 1: cannot resolve this host", "reinstall"),
        ("import time\ntime.sleep(60)", "no answer within 0.5 seconds", ""),
    ],
    ids=["another family", "fails", "hangs"],
)
def test_a_launcher_that_starts_no_job_of_two_ranks_is_an_error(
    place: Path, monkeypatch: pytest.MonkeyPatch, mpiexec: str, detail: str, cure: str
) -> None:
    program(place / "bin" / "mpiexec", mpiexec)
    monkeypatch.setenv("ADMMCTL_MPIEXEC", "mpiexec")
    monkeypatch.setattr(probes, "RANKS_SECONDS", 0.5 if "sleep" in mpiexec else 30.0)
    found = line("two ranks")
    assert (found[0], detail in found[1], cure in found[2]) == ("error", True, True)


def test_a_job_without_an_srun_is_told_with_the_cure_and_nothing_is_started(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(place / "bin" / "mpiexec", "raise SystemExit('it was started')")
    monkeypatch.setenv("ADMMCTL_MPIEXEC", "mpiexec")
    for name, value in {"JOB_ID": "7", "NTASKS": "2", "JOB_NODELIST": "n[1-2]"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    for name in ("launcher", "two ranks"):
        state, detail, cure = line(name)
        assert (state, "there is no srun on the PATH" in detail) == ("error", True)
        assert cure.startswith("load the site's Slurm module, or use --launcher mpiexec")


@pytest.mark.parametrize(
    ("value", "state", "text"),
    [
        ("1", "ok", "OMP_NUM_THREADS=1"),
        ("", "warning", "OMP_NUM_THREADS=: not a number of threads; one per rank is used"),
        ("4096", "warning", "4096 threads in all"),
    ],
)
def test_threads_that_the_environment_asks_for(
    place: Path, monkeypatch: pytest.MonkeyPatch, value: str, state: str, text: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    found = line("BLAS")
    assert (found[0], text in found[1]) == (state, True)


def test_a_variable_of_another_library_does_not_count(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "thread_variables", lambda: ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"))
    monkeypatch.setenv("MKL_NUM_THREADS", "4096")
    state, detail, _ = line("BLAS")
    assert state == "ok"
    assert "MKL_NUM_THREADS=4096 (which it does not read), one thread per rank" in detail


def test_what_an_mpi_launcher_has_left_does_not_matter(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = {"PMI_FD": "99", "PMI_RANK": "0", "PMI_SIZE": "2", "PMIX_RANK": "0", "PMIX_NAMESPACE": "gone"}
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    assert line("MPI library")[0] == "ok"
    assert line("two ranks")[0] == "ok"


def test_ranks_of_other_code_are_an_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a host with another version; here by another checkout that PYTHONPATH names."""
    ours = Path(doctor.__file__).parents[1]
    copy = place / "elsewhere" / "admmctl"
    shutil.copytree(ours, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "rng.py").write_text((copy / "rng.py").read_text() + "\n# changed\n")
    monkeypatch.setenv("PYTHONPATH", str(copy.parent))
    state, detail, cure = line("two ranks")
    assert state == "error"
    assert f"and this is {code()} from {ours}" in detail
    assert "same version on every host" in cure


def test_more_ranks_than_cores_is_a_warning(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert line("cores", cores=100_000)[0] == "warning"
    assert line("cores")[0] == "ok"
    assert line("cores", hosts="h1:2,h2:2", cores=3) == ("ok", "--hosts (2 of them): 4 cores, 3 ranks", "")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert line("cores", cores=3) == ("warning", "job 7: 2 cores, 3 ranks", "use --cores 2 or fewer")


def test_a_containers_limit_on_processor_time_counts(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "cpu.max").write_text("150000 100000\n")
    monkeypatch.setattr(probes, "CPU_MAX", place / "cpu.max")
    monkeypatch.setattr(local, "available_cores", lambda: 8)
    state, detail, cure = line("cores", cores=2)
    assert state == "warning"
    assert "processor time of 1.5" in detail
    assert "--cores 1" in cure


def test_an_experiment_that_does_not_fit_is_an_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.memory, "available", lambda: 100_000_000)
    state, detail, _ = line("memory", config=TINY)
    assert state == "error"
    assert "admm: this run needs about" in detail
    assert line("memory")[0] == "ok"


def test_data_that_is_not_here_is_a_warning_that_says_how_to_get_it(place: Path) -> None:
    state, _, cure = line("memory", config={**TINY, "data": {"name": "mnist"}})
    assert (state, cure) == ("warning", "run: admmctl fetch mnist")


def test_a_results_folder_that_cannot_be_written_is_an_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "file").touch()
    monkeypatch.setenv("ADMMCTL_RESULTS", str(place / "file" / "results"))
    results, datasets = examined("disk")
    assert (results.state, datasets.state) == ("error", "ok")
    assert "ADMMCTL_RESULTS" in results.cure


def test_no_shared_memory_is_an_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "SHM", place / "nowhere")
    monkeypatch.setattr(sys, "platform", "linux")
    assert line("/dev/shm")[0] == "error"


LISTED = "MPI plugin types are...\n\tnone\n\tpmi2\n\tpmix\nspecific pmix plugin versions available: pmix_v4\n"


@pytest.mark.parametrize(
    ("plugins", "inside", "state"),
    [(LISTED, False, "ok"), (LISTED, True, "ok"), ("\tnone\n", False, "warning"), ("\tnone\n", True, "error")],
)
def test_slurm_and_its_plug_ins(
    place: Path, monkeypatch: pytest.MonkeyPatch, plugins: str, inside: bool, state: str
) -> None:
    text = json.dumps({"--version": "slurm-wlm 22.05.8\n", "--mpi=list": plugins})
    program(place / "bin" / "srun", f"import sys\nprint({text}[sys.argv[1]], end='')")
    if inside:
        monkeypatch.setenv("SLURM_JOB_ID", "7")
        monkeypatch.setenv("SLURM_NTASKS", "2")
    site = place / "site.yaml"
    site.write_text("{name: site, launch: {plugin: pmi2}}")
    found = line("Slurm", cluster=str(site))
    assert (found[0], "slurm-wlm 22.05.8" in found[1]) == (state, True)
    assert ("pmi2, pmix" in found[1]) == (plugins == LISTED)
    assert line("Slurm")[0] == "ok", "mpiexec needs no plug-in"


def test_no_slurm_is_fine_unless_this_is_an_allocation(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert line("Slurm")[0] == "ok"
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert line("Slurm")[0] == "ok", "left over: nothing says how large the job is"
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert line("Slurm")[0] == "error"


def test_a_broken_library_is_an_error_and_a_missing_one_matters_to_who_needs_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes.importlib.util, "find_spec", lambda name: None)
    assert line("torch")[0] == "ok"
    needing = {**TINY, "methods": {"torch-adam": {"learning_rate": 0.1}}}
    state, detail, cure = line("torch", config=needing)
    assert (state, "torch-adam needs it" in detail) == ("warning", True)
    assert "admmctl[torch]" in cure
    monkeypatch.setattr(probes.importlib.util, "find_spec", lambda name: name)
    (place / "torch.py").write_text("raise ImportError('libcudart.so.12: cannot open')")
    monkeypatch.setenv("PYTHONPATH", str(place))
    state, detail, _ = line("torch")
    assert (state, "libcudart.so.12" in detail) == ("error", True)


@pytest.mark.parametrize(("name", "library"), [("LightGBM", "lightgbm"), ("scikit-learn", "sklearn")])
def test_libraries_of_trees_are_looked_for_too(
    place: Path, monkeypatch: pytest.MonkeyPatch, name: str, library: str
) -> None:
    monkeypatch.setattr(probes, "gpus", lambda: ["NVIDIA H100"])
    pytest.importorskip(library)
    assert line(name) == ("ok", version(name.lower()), "")
    monkeypatch.setattr(probes.importlib.util, "find_spec", lambda name: None)
    state, detail, _ = line(name)
    assert (state, detail.startswith("not installed; trees")) == ("ok", True)
    boosted = {**TINY, "loss": "cross-entropy", "methods": {"boosted": {"kind": "trees", "library": library}}}
    state, detail, cure = line(name, config=boosted)
    assert (state, "boosted needs it" in detail, cure) == ("warning", True, "pip install 'admmctl[trees]'")
    other = "lightgbm" if library == "sklearn" else "sklearn"
    assert line(name, config={**boosted, "methods": {"trees": {"library": other}}})[0] == "ok"
    monkeypatch.setattr(probes.importlib.util, "find_spec", lambda name: name)
    (place / f"{library}.py").write_text("raise OSError('libgomp.so.1: cannot open')")
    monkeypatch.setenv("PYTHONPATH", str(place))
    state, detail, cure = line(name)
    assert (state, "libgomp.so.1" in detail, name.lower() in cure) == ("error", True, True)


def test_a_gpu_that_a_library_does_not_see_is_a_warning(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "library", lambda name: {"version": "2.9.0+cpu", "devices": ["cpu"], "gpu": False})
    monkeypatch.setattr(probes, "gpus", lambda: [])
    assert line("torch") == ("ok", "2.9.0+cpu on cpu", "")
    monkeypatch.setattr(probes, "gpus", lambda: ["NVIDIA H100"])
    assert line("torch")[0] == "warning"


def test_numba_is_examined_by_a_loop_that_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernels.COMPILED:
        assert line("numba") == ("ok", kernels.described(), "")
        assert kernels.described().startswith("numba ")
    trouble = "numba cannot be loaded (it needs another NumPy): loops run on NumPy; pip install numba"
    monkeypatch.setattr(kernels, "_trouble", trouble)
    assert line("numba") == ("warning", trouble.partition(";")[0], "pip install numba")
