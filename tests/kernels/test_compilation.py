"""Where compiled kernels are kept, and that this is never the reason why one does not run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import fastfcn_kernels
from fastfcn_kernels import compilation

LOSS = (
    "import numpy as np; from fastfcn import losses; "
    "print(losses.MSELoss()(np.ones((2, 2)), np.zeros((2, 2))))"
)
FIT = (
    "import numpy as np; from fastfcn import fit, losses, nn, optim; "
    "net = nn.Sequential(nn.Linear(1, 1, bias=False, dtype=float)); net[0].weight = [[0]]; "
    "sgd = optim.SGD(net.parameters()); x = np.ones((4, 1)); "
    "print(fit(net, x, x, loss=losses.MSELoss(), optimizer=sgd, batch_size=4).loss[0])"
)


def run(code, cache, check=True, **options):
    environment = os.environ | {"FASTFCN_CACHE_DIR": str(cache)}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=check,
        **options,
    )


def test_a_second_process_loads_what_the_first_compiled(tmp_path):
    assert run(LOSS, tmp_path).stdout == "1.0\n"
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")}
    assert files
    assert run(LOSS, tmp_path).stdout == "1.0\n"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")} == files


def test_a_loss_does_not_compile_the_others(tmp_path):
    run(LOSS, tmp_path)
    kept = {path.name.partition("-")[0] for path in tmp_path.rglob("*.nbc")}
    assert {name for name in kept if name.endswith("_rows")} == {"losses.mse_rows"}


@pytest.mark.parametrize(
    "use", [LOSS, pytest.param(FIT, marks=pytest.mark.slow)], ids=["one kernel", "a fit"]
)
@pytest.mark.parametrize("cache", ["/proc/no-such-folder", os.devnull])
def test_an_unusable_folder_costs_a_compilation_and_no_more(cache, use):
    done = run(use, cache)
    assert done.stdout == "1.0\n"
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="folders have no mode there")
def test_a_home_that_cannot_be_written_costs_a_compilation_and_no_more(tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    environment = {k: v for k, v in os.environ.items() if k != "FASTFCN_CACHE_DIR"}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    # Root writes into any folder, but not below a file.
    if os.access(home, os.W_OK):
        (home / "cache").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", FIT], env=environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("1.0\n", "")
    assert not list(home.rglob("*.nb?"))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["nbi", "nbc", "nb?"])
def test_damaged_files_are_compiled_again(suffix, tmp_path):
    run(FIT, tmp_path)
    damaged = list(tmp_path.rglob(f"*.{suffix}"))
    assert damaged
    for path in damaged:
        path.write_bytes(b"damaged")
    done = run(FIT, tmp_path)
    assert (done.stdout, done.stderr) == ("1.0\n", "")
    # What was damaged has been replaced by what can be loaded.
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")}
    assert run(FIT, tmp_path).stdout == "1.0\n"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")} == files


@pytest.mark.slow
def test_processes_may_compile_at_once(tmp_path):
    environment = os.environ | {"FASTFCN_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", FIT]
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate()[0] for process in started] == ["1.0\n"] * 3


@pytest.mark.slow
def test_a_folder_wiped_under_a_running_process_is_made_again(tmp_path):
    wipe = f"import shutil; shutil.rmtree({str(tmp_path)!r}, ignore_errors=True)"
    assert run(f"{LOSS}; {wipe}; {FIT}; {LOSS}", tmp_path).stdout == "1.0\n" * 3
    kept = {path.name.partition("-")[0] for path in tmp_path.rglob("*.nbc")}
    assert {"training.learn", "training.update", "matmul.matmul"} <= kept


@pytest.mark.slow
def test_editing_a_helper_recompiles_the_kernels_that_are_built_on_it(tmp_path):
    """Numba looks at a function's own file; e^x is in another one than the sigmoid's kernel."""
    package = tmp_path / "fastfcn_kernels"
    shutil.copytree(Path(fastfcn_kernels.__file__).parent, package)
    cache = tmp_path / "cache"
    use = (
        "import numpy as np, fastfcn_kernels; from fastfcn import nn; "
        "print(nn.Sigmoid()(np.zeros((1, 1)))[0, 0]); print(fastfcn_kernels.__file__)"
    )

    def value():
        """Return sigmoid(0) of the copied package, and how many folders the cache has."""
        # Found before the package itself, whatever the environment's path says.
        first = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
        printed = run(first + use, cache).stdout.split()
        assert Path(printed[1]).parent == package
        return float(printed[0]), len(list(cache.iterdir()))

    assert value() == (0.5, 1)
    source = package / "elementary.py"
    kept = source.read_text()
    formula = "return numerator / (like(x, 1.0) + e)"
    assert formula in kept
    source.write_text(kept.replace(formula, "return numerator / (like(x, 3.0) + e)"))
    assert value() == (0.25, 2)
    source.write_text(kept)
    assert value() == (0.5, 2)


@pytest.mark.slow
def test_kernels_compiled_by_different_processes_do_not_mix(tmp_path):
    """Kernels that are loaded into one process from the caches of several keep apart."""
    uses = {
        "relu": "print(nn.ReLU()(x).tolist())",
        "gelu": "print(nn.GELU()(x).tolist())",
        "predict": "print(ff.predict(net, np.ones((1, 3), np.uint8)).tolist())",
        "forward": "print(net(x).tolist())",
        "threads": "print(ff.predict(net, np.tile(x, (99, 1)), n_threads=2)[7].tolist())",
        "loss": "print(losses.MSELoss()(x, np.zeros((1, 3))))",
    }
    if numba.config.NUMBA_NUM_THREADS < 2:
        del uses["threads"]
    prepare = (
        "import numpy as np; from fastfcn import losses, nn; import fastfcn as ff; "
        "x = np.array([[1.0, 2.0, 3.0]]); net = nn.Sequential(nn.Linear(3, 2, dtype=float)); "
        "net[0].weight = np.ones((3, 2)); net[0].bias = [0, 1]; "
    )
    alone = [run(prepare + use, tmp_path).stdout for use in uses.values()]
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")}
    for order in (1, -1):
        together = run(prepare + "; ".join(list(uses.values())[::order]), tmp_path)
        assert together.stdout == "".join(alone[::order])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")} == files


def test_two_helpers_cannot_share_a_name():
    def twin():
        pass

    compilation.variant("test_twin")(twin)
    with pytest.raises(ValueError, match="name of its own"):
        compilation.variant("test_twin")(twin)


def test_a_helper_is_compiled_once_whatever_constants_it_is_called_with():
    @compilation.helper
    def twice_of(number):
        return 2 * number

    @numba.njit
    def sums(number):
        return twice_of(1) + twice_of(2) + twice_of(number)

    assert sums(3) == 12
    assert len(twice_of.signatures) == 1
