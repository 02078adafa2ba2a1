"""Where compiled kernels are kept, and that this is never the reason why one does not run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastfcn_kernels
from fastfcn_kernels import compilation

LOSS = (
    "import numpy as np; from fastfcn import losses; "
    "print(losses.MSELoss()(np.ones((2, 2)), np.zeros((2, 2))))"
)
HASH = "from fastfcn_kernels.compilation import sources_hash; print(sources_hash())"


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


@pytest.mark.parametrize("cache", ["/proc/no-such-folder", os.devnull])
def test_an_unusable_folder_costs_a_compilation_and_no_more(cache):
    done = run(LOSS, cache)
    assert done.stdout == "1.0\n"
    assert done.stderr == ""


def test_damaged_files_are_compiled_again(tmp_path):
    run(LOSS, tmp_path)
    for path in tmp_path.rglob("*.nb?"):
        path.write_bytes(b"damaged")
    assert run(LOSS, tmp_path).stdout == "1.0\n"


def test_processes_may_compile_at_once(tmp_path):
    environment = os.environ | {"FASTFCN_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", LOSS]
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate()[0] for process in started] == ["1.0\n"] * 3


def test_a_folder_wiped_under_a_running_process_is_made_again(tmp_path):
    wipe = f"import shutil; shutil.rmtree({str(tmp_path)!r}, ignore_errors=True)"
    again = LOSS.replace("ones((2, 2))", "ones((2, 2), np.float32)")
    assert run(f"{LOSS}; {wipe}; {again}", tmp_path).stdout == "1.0\n1.0\n"
    assert list(tmp_path.rglob("*.nbc"))


def test_editing_any_kernel_source_opens_a_new_folder(tmp_path):
    package = tmp_path / "fastfcn_kernels"
    shutil.copytree(Path(fastfcn_kernels.__file__).parent, package)

    def current():
        return run(HASH, tmp_path, cwd=tmp_path).stdout.strip()

    before = current()
    assert before == current()
    source = package / "elementary.py"
    source.write_text(source.read_text().replace("0.5", "0.25", 1))
    assert current() != before


def test_kernels_compiled_by_different_processes_do_not_mix(tmp_path):
    """Variants of one helper, loaded from two caches into one process, keep apart."""
    prepare = (
        "import numpy as np; from fastfcn import nn; import fastfcn as ff; "
        "net = nn.Sequential(nn.Linear(3, 2)); "
        "net[0].weight = np.ones((3, 2)); net[0].bias = [0, 1]; "
    )
    predict = "ff.predict(net, np.ones((1, 3), np.uint8)); "
    forward = "print(net(np.array([[1.0, 2.0, 3.0]])).tolist())"
    # What both are built on first, so that the counters of the two processes run alike.
    shared = (
        "from fastfcn.plan import Workspace; Workspace(net.plan().stages, net[0].dtype, 1, False)"
    )
    run(prepare + shared, tmp_path)
    run(prepare + predict, tmp_path)
    run(prepare + forward, tmp_path)
    assert run(prepare + predict + forward, tmp_path).stdout == "[[6.0, 7.0]]\n"


def test_two_helpers_cannot_share_a_name():
    def twin():
        pass

    compilation.variant("test_twin")(twin)
    with pytest.raises(ValueError, match="name of its own"):
        compilation.variant("test_twin")(twin)
