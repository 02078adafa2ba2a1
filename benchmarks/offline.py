"""Make a page that ``asv publish`` wrote independent of the network and of a web server.

asv's page takes its scripts from content delivery networks and asks a server for its data. Here the
scripts come from the npm registry, once, as the exact packages whose hashes stand below; the data
become one more script. The folder then opens from a disk, where browsers refuse to load JSON.
"""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """One release of an npm package, and the sha512 that npm publishes of its archive."""

    name: str
    version: str
    sha512: str

    @property
    def archive(self) -> str:
        return f"{self.name}-{self.version}.tgz"


JQUERY = Package(
    "jquery",
    "3.3.1",
    "Ubldcmxp5np52/ENotGxlLe6aGMvmF4R8S6tZjsP6Knsaxd/xp3Zrh50cG93lR6nPXyUFwzN3ZSOQI0wRJNdGg==",
)
FLOT = Package(
    "flot",
    "0.8.3",
    "xg2otcTJDvS+ERK+my4wxG/ASq90QURXtoM4LhacCq0jQW2jbyjdttbRNqU2cPykrpMvJ6b2uSp6SAgYAzj9tQ==",
)
ORDER_BARS = Package(
    "flot-orderbars",
    "1.0.0",
    "Jv51fvzevUjNXEeozpwEKfPjhiZhfiJddv0WHjduUTCmSF+7T5K7C9c9Y1wIVmUhDBv5fLMjgbwKecT0GIKPZA==",
)
STUPID_TABLE = Package(
    "stupid-table-plugin",
    "1.1.3",
    "2Vk7XouQPxUQPRe9w0Fu7ZZ8kHLK7rDoLMsCgtKxRNJ7f4dSOGvW9CkHsq5wD6QsaEnWoyLBYH3xOEsrK3yWBg==",
)
MD5 = Package(
    "blueimp-md5",
    "2.19.0",
    "DRQrD6gJyy8FbiE4s+bDoXS9hiW3Vbx5uCdwvcCf3zLHL+Iv7LtGHLpr+GZV8rHG8tK766FGYBwRbu8pELTt+w==",
)
BOOTSTRAP = Package(
    "bootstrap",
    "3.1.1",
    "TAzqS8E/ISpVHP29gYhy+1NSV+FJwApDVQhDfgLYsIuUDJiqJzH2DfORN5tiu+Ie2iBLrzEG34t4Rf465cigqg==",
)

FILES = {
    r"jquery[-.\d]*(\.min)?\.js": (JQUERY, "dist/jquery.min.js"),
    r"jquery\.flot(\.min)?\.js": (FLOT, "jquery.flot.js"),
    r"jquery\.flot\.time(\.min)?\.js": (FLOT, "jquery.flot.time.js"),
    r"jquery\.flot\.selection(\.min)?\.js": (FLOT, "jquery.flot.selection.js"),
    r"jquery\.flot\.categories(\.min)?\.js": (FLOT, "jquery.flot.categories.js"),
    r"jquery\.flot\.orderBars(\.min)?\.js": (ORDER_BARS, "js/jquery.flot.orderBars.js"),
    r"stupidtable(\.min)?\.js": (STUPID_TABLE, "stupidtable.min.js"),
    r"md5(\.min)?\.js": (MD5, "js/md5.min.js"),
    r"bootstrap(\.min)?\.js": (BOOTSTRAP, "dist/js/bootstrap.min.js"),
    r"bootstrap(\.min)?\.css": (BOOTSTRAP, "dist/css/bootstrap.min.css"),
}
"""Where a file of this name comes from, whatever address and version asv's page gives."""

ANSWERS = """\
// What asv's scripts ask a server for, answered from here: pages on a disk may load no JSON.
(function () {
  "use strict";
  var files = %s;
  jQuery.ajaxTransport("+json", function (options) {
    var path = decodeURIComponent(options.url.split("?")[0]);
    if (!Object.prototype.hasOwnProperty.call(files, path)) { return undefined; }
    return {
      send: function (headers, complete) {
        // Later, as a server would: asv's other scripts have begun by then.
        jQuery(function () { complete(200, "OK", { text: files[path] }); });
      },
      abort: function () {}
    };
  });
})();
"""


class Unavailable(Exception):
    """A script is neither in the cache nor to be had from the registry."""


def make_offline(page: Path, cache: Path) -> None:
    """Change a folder that ``asv publish`` wrote so that its page needs nothing but the folder.

    Parameters
    ----------
    page : Path
        The folder; index.html in it is rewritten, ``vendor/`` and ``data.js`` are added.
    cache : Path
        Where downloaded packages are kept. What lies there is not downloaded again.

    Raises
    ------
    Unavailable
        If a package is not in the cache and the registry cannot be reached.
    ValueError
        If the page asks for a script that is not known here, or a package has another hash.
    """
    index = page / "index.html"
    html = index.read_text(encoding="utf-8")
    vendor = page / "vendor"
    vendor.mkdir(exist_ok=True)

    def local(tag: re.Match[str]) -> str:
        address = tag["address"]
        name = address.rpartition("/")[2]
        source = next((of for like, of in FILES.items() if re.fullmatch(like, name)), None)
        if source is None:
            raise ValueError(
                f"every script of asv's page must be known to {Path(__file__).name}, "
                f"got {address}; add its package to FILES"
            )
        package, path = source
        local_name = path.rpartition("/")[2]
        (vendor / local_name).write_bytes(_read(package, path, cache))
        # Hashes and reports of failure belonged to the network's copy.
        kept = re.sub(r'\s(integrity|crossorigin|referrerpolicy|onerror)="[^"]*"', "", tag[0])
        return kept.replace(address, f"vendor/{local_name}")

    html = re.sub(
        r'<(?:script|link)\b[^>]*\b(?:src|href)="(?P<address>(?:https?:)?//[^"]+)"[^>]*>',
        local,
        html,
    )
    html = html.replace("</head>", '    <script src="data.js"></script>\n  </head>', 1)
    files = {
        path.relative_to(page).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(page.rglob("*.json"))
    }
    (page / "data.js").write_text(ANSWERS % json.dumps(files), encoding="utf-8")
    index.write_text(html, encoding="utf-8")


def _read(package: Package, path: str, cache: Path) -> bytes:
    """Return one file of a package."""
    with tarfile.open(fileobj=io.BytesIO(_archive(package, cache))) as archive:
        # npm calls the folder in an archive package; old archives have other names.
        for member in archive:
            if member.isfile() and member.name.partition("/")[2] == path:
                file = archive.extractfile(member)
                assert file is not None
                return file.read()
    raise ValueError(f"{package.archive} must hold {path}; FILES names it")


def _archive(package: Package, cache: Path) -> bytes:
    """Return a package's archive from the cache or the registry, its hash checked."""
    kept = cache / package.archive
    if kept.is_file() and _sha512(kept.read_bytes()) == package.sha512:
        return kept.read_bytes()
    address = f"{registry()}/{package.name}/-/{package.archive}"
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            content: bytes = answer.read()
    except OSError as error:
        raise Unavailable(
            f"{package.name} {package.version} must come from the npm registry once, "
            f"got {error}; run this where the registry can be reached, or lay the archive that "
            f"`npm pack {package.name}@{package.version}` makes into {cache}"
        ) from error
    if _sha512(content) != package.sha512:
        raise ValueError(
            f"{package.archive} must have the sha512 {package.sha512}, got {_sha512(content)}; "
            "the registry has sent another file"
        )
    cache.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(content)
    return content


def _sha512(content: bytes) -> str:
    return base64.b64encode(hashlib.sha512(content).digest()).decode("ascii")


def registry() -> str:
    """Return the address of the npm registry: $npm_config_registry, else what npm is set to."""
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        if os.environ.get(name):
            return os.environ[name].rstrip("/")
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable(
            "the npm registry's address must be known once, got no npm to ask; install npm, or set "
            "npm_config_registry to the address"
        )
    command = [npm, "config", "get", "registry"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    address = done.stdout.strip()
    if done.returncode or not address.startswith(("http://", "https://")):
        raise Unavailable(f"`npm config get registry` must print an address, got {address!r}")
    return address.rstrip("/")
