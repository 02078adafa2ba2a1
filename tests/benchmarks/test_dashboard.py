"""The dashboard, built by its command and looked at in a browser that has no network."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import Chromium
from conftest import skip_or_fail

ROOT = Path(__file__).resolve().parents[2]
EPOCH = "bench_epoch.EpochOverLimit.track_epoch_over_limit"
UNAVAILABLE = 69
"""The command's exit status where the page's scripts cannot be had."""

COLOURED_PIXELS = """
(function (canvas) {
  // Frame and grid are grey; only what was measured has a colour.
  var rgba = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  var count = 0;
  for (var i = 0; i < rgba.length; i += 4) {
    var rgb = [rgba[i], rgba[i + 1], rgba[i + 2]];
    if (rgba[i + 3] > 127 && Math.max.apply(0, rgb) - Math.min.apply(0, rgb) > 60) { count++; }
  }
  return count;
})(document.querySelector(%s))
"""


def require(reason: str) -> None:
    skip_or_fail(reason, "FASTFCN_REQUIRE_DASHBOARD")


def dashboard(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, from the checkout."""
    command = [sys.executable, "-m", "benchmarks.dashboard", *map(str, arguments)]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration of asv with the real suites, and three commits with made-up results."""
    if importlib.util.find_spec("asv") is None:
        require("asv is not installed; pip install -e '.[bench]'")
    if shutil.which("git") is None:
        require("git is not installed")
    project = tmp_path_factory.mktemp("project")
    home = {
        **os.environ,
        "HOME": str(project),
        "ASV_PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    for person in ("AUTHOR", "COMMITTER"):
        home |= {f"GIT_{person}_NAME": "nobody", f"GIT_{person}_EMAIL": "nobody@localhost"}

    def run(*command: str, **environment: str) -> str:
        done = subprocess.run(
            command, cwd=project, env={**home, **environment}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    config = json.loads((ROOT / "asv.conf.json").read_text(encoding="utf-8"))
    config |= {"benchmark_dir": str(ROOT / "benchmarks"), "results_dir": "results"}
    (project / "asv.conf.json").write_text(json.dumps(config), encoding="utf-8")
    run("git", "init", "--quiet")
    run(sys.executable, "-m", "asv", "machine", "--yes", "--machine", "tester")
    run(
        *(sys.executable, "-m", "asv", "run", "--machine", "tester"),
        *("-E", "existing:same", "--bench", "just-discover"),
    )
    suites = json.loads((project / "results" / "benchmarks.json").read_text(encoding="utf-8"))
    assert EPOCH in suites, "results are kept under a benchmark's name: it may not change"
    suite = suites[EPOCH]
    cells = 1
    for values in suite["params"]:
        cells *= len(values)
    machine = project / "results" / "tester"
    params = json.loads((machine / "machine.json").read_text(encoding="utf-8"))
    del params["version"]
    for day in range(1, 4):
        date = f"2024-01-0{day}T12:00:00Z"
        run(
            *("git", "commit", "--quiet", "--allow-empty", "--message", f"day {day}"),
            GIT_AUTHOR_DATE=date,
            GIT_COMMITTER_DATE=date,
        )
        commit = run("git", "rev-parse", "HEAD").strip()
        values = [1.0 + cell / cells + 0.1 * day for cell in range(cells)]
        result = {
            "commit_hash": commit,
            "env_name": "existing",
            "date": 1_704_110_400_000 + day * 86_400_000,
            "params": {**params, "python": "3.11"},
            "python": "3.11",
            "requirements": {},
            "env_vars": {},
            "result_columns": ["result", "params", "version"],
            "results": {EPOCH: [values, suite["params"], suite["version"]]},
            "durations": {},
            "version": 2,
        }
        (machine / f"{commit[:8]}-existing.json").write_text(json.dumps(result), encoding="utf-8")
    return project


@pytest.fixture(scope="module")
def page(project: Path) -> str:
    """The address of a dashboard."""
    output = project / "page"
    done = dashboard("--no-run", "--config", project / "asv.conf.json", "--output", output)
    if done.returncode == UNAVAILABLE:
        require(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    address = (output / "index.html").as_uri()
    assert address in done.stdout
    return address


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A browser on this machine."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None or os.name == "nt":
        require("Chromium is not installed: " + ", ".join(names))
    else:
        with Chromium(found, tmp_path_factory.mktemp("profile")) as browser:
            yield browser


def assert_page_stood_alone(chromium: Chromium, page: str) -> None:
    folder = page.removesuffix("index.html")
    assert [address for address in chromium.requested() if not address.startswith(folder)] == []
    assert chromium.thrown() == []


def test_front_page_lists_and_sketches_the_epoch(page: str, chromium: Chromium, tmp_path: Path):
    chromium.open(page)
    sketch = json.dumps(f'[id="summarygrid-{EPOCH}"] canvas.flot-base')
    chromium.wait_for(f"document.querySelector({sketch})")
    chromium.screenshot(tmp_path / "front.png")
    assert EPOCH.partition(".")[2] in chromium.evaluate("document.body.innerText")
    assert chromium.evaluate(COLOURED_PIXELS % sketch) > 100
    assert_page_stood_alone(chromium, page)


def test_graph_of_the_epoch_is_drawn(page: str, chromium: Chromium, tmp_path: Path):
    chromium.open(f"{page}#{urllib.parse.quote(EPOCH)}")
    chromium.wait_for("document.querySelector('#main-graph .legendLabel')")
    chromium.screenshot(tmp_path / "epoch.png")
    labels = chromium.evaluate(
        "Array.from(document.querySelectorAll('#main-graph .legendLabel'), l => l.innerText)"
    )
    assert sorted(labels) == sorted(
        f"input-{dtype}; threads-{threads}"
        for dtype in ("uint8", "float32")
        for threads in ("1", "all")
    )
    # Three of the four lines have a colour; each goes from the first commit to the last.
    width = chromium.evaluate("document.querySelector('#main-graph').clientWidth")
    coloured = chromium.evaluate(COLOURED_PIXELS % json.dumps("#main-graph canvas.flot-base"))
    assert coloured > 2 * width
    assert_page_stood_alone(chromium, page)


def test_list_of_results_is_filled_and_sorted(page: str, chromium: Chromium):
    chromium.open(f"{page}#summarylist")
    chromium.wait_for("document.querySelector('#summarylist-body th.asc')")
    rows = chromium.evaluate(
        "Array.from(document.querySelectorAll('#summarylist-body tbody tr'), r => r.innerText)"
    )
    assert len(rows) == 4
    assert rows == sorted(rows)
    assert all(row.startswith(EPOCH) and "x LIMIT" in row for row in rows)
    assert_page_stood_alone(chromium, page)


def test_a_later_dashboard_needs_no_registry(page: str, project: Path):
    folder = project / "page"
    again = dashboard(
        *("--no-run", "--config", project / "asv.conf.json", "--output", folder),
        npm_config_registry="http://127.0.0.1:9",
    )
    assert again.returncode == 0, again.stdout + again.stderr


def test_a_folder_with_other_files_is_left_alone(project: Path, tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    done = dashboard("--no-run", "--config", project / "asv.conf.json", "--output", tmp_path)
    assert done.returncode == 2
    assert f"--output must be a new or empty folder or an earlier dashboard, got {tmp_path}" in (
        done.stderr
    )
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "years of work"
