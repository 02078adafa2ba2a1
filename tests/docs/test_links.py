"""Links of the project's Markdown pages: what they point at is there."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")]
)
GUIDE = ROOT / "docs" / "guide"
FENCED = re.compile(r"^( *)(```+).*?^\1\2`*$", re.MULTILINE | re.DOTALL)


def without_code(text: str) -> str:
    """The text without code blocks and code spans, where brackets mean something else."""
    return re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "code", FENCED.sub("", text), flags=re.DOTALL)


def links(page: Path) -> list[str]:
    """The targets of a page's links and images that are no web addresses."""
    targets = re.findall(r"\]\(\s*<?([^)\s>]+)", without_code(page.read_text(encoding="utf-8")))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in addresses, as GitHub makes them."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.+?) *$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_pages_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        file, _, anchor = unquote(link).partition("#")
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_the_guides_index_has_every_page() -> None:
    indexed = {link for link in links(GUIDE / "README.md") if "/" not in link}
    assert indexed == {page.name for page in GUIDE.glob("*.md")} - {"README.md"}


def test_the_table_of_examples_has_every_script() -> None:
    examples = ROOT / "examples"
    listed = {link for link in links(examples / "README.md") if link.endswith(".py")}
    assert listed == {script.name for script in examples.glob("*.py")}


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One two\n[a](gone.md) `[b](code.md)` [c](page.md#one-two) ![d](e.png)\n")
    assert links(page) == ["gone.md", "page.md#one-two", "e.png"]
    assert anchors(page) == {"one-two"}
