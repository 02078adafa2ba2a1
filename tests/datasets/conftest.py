import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from image_files import Mirror


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    served = Mirror()
    thread = threading.Thread(target=served.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield served
    served.server.shutdown()
    served.server.server_close()
    thread.join()


@pytest.fixture
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No data set anywhere: the cache is an empty folder, which is returned."""
    cache = tmp_path / "cache"
    monkeypatch.delenv("FASTFCN_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: cache / name)
    monkeypatch.setattr(
        "fastfcn.datasets.images._DEBIAN_FASHION_MNIST", tmp_path / "usr" / "fashion-mnist"
    )
    return cache
