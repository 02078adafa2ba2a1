"""Who may import what, beyond the layers that import-linter checks."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (ROOT / "fastfcn", ROOT / "src_kernels" / "fastfcn_kernels")

LAZY = (
    "sklearn",
    "torch",
    "torchvision",
    "matplotlib",
    "pooch",
    "scipy",
    "tqdm",
    "safetensors",
    "tensorboardX",
    "pandas",
    "polars",
)


def modules() -> list[Path]:
    """Every Python file that is installed."""
    return sorted(path for package in PACKAGES for path in package.rglob("*.py"))


def imported(node: ast.AST) -> list[str]:
    """Top-level packages that one node imports absolutely."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module.partition(".")[0]]
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name | ast.Attribute)
        and (node.func.id if isinstance(node.func, ast.Name) else node.func.attr)
        in ("import_module", "__import__", "find_spec")
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    ):
        return [node.args[0].value.partition(".")[0]]
    return []


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def when_imported(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported: not those in functions or for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if is_type_checking(node):
            continue
        yield node
        yield from when_imported(node)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def importers(package: str) -> list[str]:
    return [
        path.relative_to(ROOT).as_posix()
        for path in modules()
        if any(package in imported(node) for node in ast.walk(parse(path)))
    ]


def run(code: str, *flags: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    finished = subprocess.run(
        [sys.executable, *flags, "-c", code], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_importing_fastfcn_loads_no_heavy_package_and_compiles_nothing() -> None:
    code = f"""
import sys
import fastfcn
loaded = sorted(set({LAZY!r}) & set(sys.modules))
kernels = sys.modules.get("fastfcn_kernels.compilation")
print(loaded, kernels.compiled_signatures() if kernels else 0)
"""
    assert run(code) == "[] 0"


@pytest.mark.parametrize("name", ["nn", "losses", "optim", "callbacks", "datasets", "plots"])
def test_importing_a_submodule_loads_no_heavy_package_and_compiles_nothing(name: str) -> None:
    # Numba imports scipy where it is installed: what it loads by itself is not ours.
    code = f"""
import sys
import numba
before = set(sys.modules)
import fastfcn.{name}
loaded = sorted(set({LAZY!r}) & (set(sys.modules) - before))
kernels = sys.modules.get("fastfcn_kernels.compilation")
print(loaded, kernels.compiled_signatures() if kernels else 0)
"""
    assert run(code) == "[] 0"


def test_importing_fastfcn_shows_no_warning_of_our_own() -> None:
    assert run("import fastfcn; print('quiet')", "-W", "error::Warning:fastfcn") == "quiet"


def test_every_public_name_of_fastfcn_resolves() -> None:
    code = "import fastfcn\nfor name in fastfcn.__all__: getattr(fastfcn, name)\nprint('all')"
    assert run(code) == "all"


@pytest.mark.parametrize(
    "package", ["matplotlib", "torchvision", "torch", "pooch", "safetensors", "tensorboardX"]
)
def test_at_most_one_module_imports(package: str) -> None:
    assert len(importers(package)) <= 1, importers(package)


def test_sklearn_is_imported_by_metrics_datasets_and_estimators_alone() -> None:
    # The digits' images and the confusion matrix are two ideas, each in its own module; estimators
    # are scikit-learn's through and through.
    found = importers("sklearn")
    assert len([name for name in found if name.startswith("fastfcn/datasets")]) <= 1
    homes = ("fastfcn/datasets", "fastfcn/metrics", "fastfcn/estimators/")
    assert all(name.startswith(homes) for name in found), found


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_heavy_packages_are_imported_inside_functions(path: Path) -> None:
    found = {name for node in when_imported(parse(path)) for name in imported(node)}
    if path.parent.name == "estimators":  # its classes inherit from scikit-learn's
        found -= {"sklearn", "scipy"}
    assert not found & set(LAZY)


@pytest.mark.parametrize(
    "path",
    [path for path in modules() if path.is_relative_to(PACKAGES[1])],
    ids=lambda path: path.name,
)
def test_the_compiled_core_imports_numba_llvmlite_numpy_and_itself(path: Path) -> None:
    allowed = {"numba", "llvmlite", "numpy", "fastfcn_kernels"} | set(sys.stdlib_module_names)
    found = {name for node in ast.walk(parse(path)) for name in imported(node)}
    assert found <= allowed


def test_the_reference_imports_nothing_but_numpy_and_the_standard_library() -> None:
    files = list((ROOT / "tests" / "reference").glob("*.py"))
    assert files
    found = {name for path in files for node in ast.walk(parse(path)) for name in imported(node)}
    assert found <= {"reference", "numpy", "math", "typing", "collections", "__future__"}


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_is_named_utils_and_each_has_a_docstring(path: Path) -> None:
    assert "util" not in path.stem
    assert ast.get_docstring(parse(path))
