"""The guide's page on the command line: every example runs, in order."""

import re
import shlex
from pathlib import Path

import numpy as np

from command_line import done, prices, write_csv

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "command-line.md"


def test_every_command_of_the_page_runs_as_written() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rng = np.random.default_rng(0)
    kind = np.arange(150) % 3
    flowers = {
        "length": (kind + rng.normal(size=150)).tolist(),
        "width": rng.normal(size=150).tolist(),
        "kind": [("setosa", "versicolor", "virginica")[k] for k in kind],
    }
    write_csv(Path("flowers.csv"), flowers)
    write_csv(Path("new.csv"), {name: flowers[name] for name in ("width", "length")})
    houses = prices(Path("houses.csv")).read_text().splitlines()
    rows = ["id," + houses[0], *(f"h{i},{row}" for i, row in enumerate(houses[1:]))]
    Path("houses.csv").write_text("\n".join(rows))
    (toml,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    Path("run.toml").write_text(toml, encoding="utf-8")
    blocks = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) >= 10
    for line in commands:
        line, _, redirected = line.partition(" < ")
        prompt, program, *words = shlex.split(line)
        assert (prompt, program) == ("$", "fastfcn")
        done(*words, text=Path(redirected).read_text() if redirected else None)
    assert Path("predictions.json").is_file()


def test_the_page_names_every_option_of_train() -> None:
    from fastfcn import cli

    page = PAGE.read_text(encoding="utf-8")
    for option in cli.main.commands["train"].params:
        assert any(name in page for name in option.opts + option.secondary_opts), option.name
