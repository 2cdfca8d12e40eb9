"""What is told of a device, and how methods are held against it; of a GPU by a PyTorch that is made up."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from admmctl.devices.settings import device_name
from admmctl.devices.speed import Product
from admmctl.errors import MissingExtra, UserError
from admmctl.launch.cluster import Launch, load_machine
from admmctl.launch.slurm import Batch, script
from admmctl.methods.method import methods
from admmctl.runs import bench as measured
from admmctl.studies import probes
from admmctl.studies.bench import bench

GPU = """
from types import SimpleNamespace
__version__ = "2.9.0+cu130"
class cuda:
    device_count = staticmethod(lambda: 2)
    get_device_name = staticmethod(lambda number: f"NVIDIA H{number + 1}00")
    get_device_properties = staticmethod(lambda number: SimpleNamespace(total_memory=80e9))
    synchronize = staticmethod(lambda number: None)
class ones:
    def __init__(self, rows, columns, device): assert (rows, columns, device[:5]) == (8192, 8192, "cuda:")
    def __matmul__(self, other): return self
"""


def test_the_doctor_tells_memory_and_speed_of_every_gpu(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text(GPU)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.setattr(probes.importlib.util, "find_spec", lambda name: object())
    found = probes.library("torch")
    assert found is not None
    assert (found["version"], found["gpu"]) == ("2.9.0+cu130", True)
    cpu, one, other = found["devices"]
    assert cpu == "cpu"
    assert one.startswith("NVIDIA H100 (80 GB, sgemm ")
    assert other.startswith("NVIDIA H200 (80 GB, sgemm ")
    assert one.endswith(" TFLOP/s)")


def test_the_driver_is_what_nvidia_smi_says(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\ncase "$1" in *driver*) echo 580.65; echo 580.65;; *) echo A; echo B;; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    probes._of_gpus.cache_clear()
    try:
        assert (probes.gpus(), probes.driver()) == (["A", "B"], "580.65")
    finally:
        probes._of_gpus.cache_clear()


def test_jobs_ask_for_a_gpu_per_rank(tmp_path):
    job = Batch("name", 4, 1, tmp_path / "log", tmp_path, ["true"])
    assert "#SBATCH --gpus-per-task=1\n" in script(job, Launch(gpus_per_task=1))
    assert "gpus" not in script(job, Launch())
    assert load_machine("gpu-node").launch.gpus_per_task == 1


def test_bench_holds_a_method_against_the_product_of_its_device(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(measured, "_STREAM_BYTES", 1 << 16)
    monkeypatch.setattr("admmctl.devices.speed.SIDE_ON_PROCESSOR", 64)
    found = bench(None, rows=500, repeat=2, device="cpu")
    assert found.device == "cpu (PyTorch)"
    assert found.fraction is not None
    assert found.fraction > 0
    assert found.fraction == pytest.approx(found.step_gflops / found.gemm_gflops)
    with pytest.raises(
        UserError, match="--device: method linear has no choice of it; these have: admm, admm-printed, graph-admm"
    ):
        bench(None, rows=500, repeat=2, overrides=["methods={linear: {}}", "network.layers=[]"], device="cpu")


def test_a_product_is_timed(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr("admmctl.devices.speed.SIDE_ON_PROCESSOR", 64)
    assert Product("cpu").median_gflops(3) > 0
    if not torch.cuda.is_available():
        with pytest.raises(MissingExtra, match="no CUDA device"):
            Product("cuda")


def test_what_computes_has_a_name():
    graph = methods.load("graph-admm").Settings
    assert device_name(graph()) is None
    assert device_name(methods.load("linear").Settings()) is None
    assert device_name(graph(backend="torch")) == "cpu (PyTorch)"


def test_the_script_for_a_gpu_says_that_there_is_none(tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        ["bash", root / "benchmarks" / "device.sh", tmp_path / "out.json"],
        env={**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: device: cuda, but PyTorch sees no CUDA device here; use device: cpu"
    ]
    assert not (tmp_path / "out.json").exists()


def test_parts_of_the_script_for_a_gpu_run_on_the_processor(tmp_path):
    pytest.importorskip("torch")
    root = Path(__file__).parents[2]
    program = (
        "import sys, json; sys.path.insert(0, 'benchmarks'); import device\n"
        "print(json.dumps({'curves': device.curves('cpu'), 'higgs': device.higgs('cpu', 500)}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=200, check=True
    )
    found = json.loads(done.stdout)
    assert max(found["curves"].values()) < 1e-2
    assert found["higgs"]["rows"] == 500
