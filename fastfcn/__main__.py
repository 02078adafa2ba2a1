"""``python -m fastfcn``: the command line."""

from fastfcn.cli import main

if __name__ == "__main__":
    main(prog_name="python -m fastfcn")
