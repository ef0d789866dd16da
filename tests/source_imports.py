"""What the project's Python files import, read with ``ast`` so that nothing needs to be imported to be judged."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Import:
    line: int
    target: str
    """Absolute dotted name: ``numpy.typing``, ``fercore.datasets.base``."""
    deferred: bool
    """Inside a function, or for type checkers only: not carried out when the module is imported."""


def sources(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield ``(layer, file)`` for every Python file that the rule is about."""
    for path in sorted((root / "fercore").rglob("*.py")):
        part = path.relative_to(root / "fercore").parts[0]
        yield ("fercore" if part == "__init__.py" else part.removesuffix(".py")), path
    for path in sorted((root / "pages").glob("*.py")):
        yield "pages", path
    if (root / "app.py").is_file():
        yield "app", root / "app.py"


def imports(path: Path, root: Path) -> list[Import]:
    """Return what a file imports, relative names resolved."""
    package = path.relative_to(root).with_suffix("").parts[:-1]
    found: list[Import] = []

    def visit(node: ast.AST, deferred: bool) -> None:
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *(node.module or "").split("."))).strip(".")
            targets = [f"{base}.{alias.name}" for alias in node.names] if base == "fercore" else [base]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("import_module", "__import__"):
                given = str(node.args[0].value)
                targets = [f"fercore{given}" if given.startswith(".") else given]
        found.extend(Import(node.lineno, target, deferred) for target in targets)
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        inside = deferred or typing_only or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(path.read_text(encoding="utf-8"), str(path)), False)
    return found
