"""What kernels may say to the processor by name."""

import ast

from architecture.test_imports import ROOT, modules


def test_no_instruction_is_spelt_out() -> None:
    """Numba sets up no assembler: a statement with text in it aborts the process that compiles it.

    One without text, whose operands alone matter, needs none.
    """
    spelt = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            emits = node.func.attr in ("asm", "InlineAsm")
            if emits and ast.unparse(node.args[1]) != "''":
                spelt.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert spelt == []
