"""The rewriting of asv's page: what it refuses, said so that one can act on it."""

import base64
import hashlib
import io
import re
import tarfile
from pathlib import Path

import pytest

from benchmarks import offline

FILE = "dist/jquery.min.js"


def archive(files: dict[str, bytes]) -> bytes:
    """An archive as npm makes them."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return content.getvalue()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one package that stands in for jQuery, and no registry."""
    content = archive({FILE: b"var jQuery;"})
    sha512 = base64.b64encode(hashlib.sha512(content).digest()).decode()
    package = offline.Package("jquery", "3.3.1", sha512)
    monkeypatch.setitem(offline.FILES, next(iter(offline.FILES)), (package, FILE))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / package.archive).write_bytes(content)
    return cache


def page(tmp_path: Path, *tags: str) -> Path:
    folder = tmp_path / "page"
    (folder / "graphs").mkdir(parents=True)
    (folder / "graphs" / "a b.json").write_text('[[1, "</script>"]]', encoding="utf-8")
    html = f"<html><head>{''.join(tags)}</head><body></body></html>"
    (folder / "index.html").write_text(html, encoding="utf-8")
    return folder


def script(address: str) -> str:
    return f'<script src="{address}" integrity="sha256-x" onerror="js_load_failure()"></script>'


@pytest.mark.parametrize(
    "address",
    [
        "https://cdn.invalid/jquery-3.3.1.min.js",
        "http://cdn.invalid/jquery/9.0.0/jquery.js",
        "//cdn.invalid/jquery.min.js",
    ],
)
def test_scripts_of_the_network_become_files_and_keep_no_trace_of_it(
    tmp_path: Path, cache: Path, address: str
):
    folder = page(tmp_path, script(address), '<script src="asv.js"></script>')
    offline.make_offline(folder, cache)
    html = (folder / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'src="([^"]*)"', html) == ["vendor/jquery.min.js", "asv.js", "data.js"]
    assert "integrity" not in html and "onerror" not in html
    assert (folder / "vendor" / "jquery.min.js").read_bytes() == b"var jQuery;"
    assert '"graphs/a b.json"' in (folder / "data.js").read_text(encoding="utf-8")


def test_links_that_the_reader_may_follow_stay(tmp_path: Path, cache: Path):
    folder = page(tmp_path, '<a href="https://example.invalid/">asv</a>')
    offline.make_offline(folder, cache)
    assert "https://example.invalid/" in (folder / "index.html").read_text(encoding="utf-8")


def test_a_script_that_nobody_knows_is_named(tmp_path: Path, cache: Path):
    folder = page(tmp_path, script("https://cdn.invalid/d3.min.js"))
    with pytest.raises(ValueError, match=r"got https://cdn.invalid/d3.min.js; add its package"):
        offline.make_offline(folder, cache)


def test_without_a_registry_the_error_says_what_to_do(tmp_path: Path, cache: Path):
    folder = page(tmp_path, script("https://cdn.invalid/jquery.flot.js"))
    with pytest.raises(offline.Unavailable, match=r"npm pack flot@0.8.3"):
        offline.make_offline(folder, cache)


def test_a_changed_archive_is_not_used(tmp_path: Path, cache: Path):
    (kept,) = cache.iterdir()
    kept.write_bytes(archive({FILE: b"steal();"}))
    with pytest.raises(offline.Unavailable):
        offline.make_offline(page(tmp_path, script("https://cdn.invalid/jquery.js")), cache)


def test_an_archive_from_the_registry_must_have_its_hash(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    (kept,) = cache.iterdir()
    kept.unlink()
    other = archive({FILE: b"steal();"})
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO(other))
    with pytest.raises(ValueError, match="must have the sha512"):
        offline.make_offline(page(tmp_path, script("https://cdn.invalid/jquery.js")), cache)
    assert list(cache.iterdir()) == []
