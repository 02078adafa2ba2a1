"""The pictures of the guide: there, of README size, and small."""

import re
from pathlib import Path

import pytest

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide"
PICTURES = re.findall(r"\]\((\S+\.png)\)", (GUIDE / "plots.md").read_text(encoding="utf-8"))


def test_the_guide_shows_every_kind_of_figure() -> None:
    names = ["curves", "confusion", "misclassified", "weights", "activations", "lr_finder"]
    assert [Path(picture).stem for picture in PICTURES] == names


@pytest.mark.parametrize("picture", PICTURES)
def test_a_picture_is_800_pixels_wide_and_below_60_kb(picture: str) -> None:
    data = (GUIDE / picture).read_bytes()
    assert data.startswith(b"\x89PNG")
    assert int.from_bytes(data[16:20], "big") == 800
    assert len(data) < 60_000
