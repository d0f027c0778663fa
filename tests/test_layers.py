"""Imports go one way (design §2), and nothing reads the environment at import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import guiji

PACKAGE = Path(guiji.__file__).parent
FILES = sorted(p for p in PACKAGE.rglob("*.py") if "__pycache__" not in p.parts)

#: part of the package -> its layer; a part imports from layers below its own only, or from itself
LAYERS: dict[str, float] = {
    **dict.fromkeys(["masking"], -1),
    **dict.fromkeys(["errors", "install", "limits", "__init__"], 0),
    **dict.fromkeys(["settings"], 1),
    **dict.fromkeys(
        [
            "records",
            "secrets",
            "connections",
            "postgres_cluster",
            "calendar",
            "city",
            "codes",
            "audit",
            "causes",
            "cells",
            "origins",
            "window_words",
        ],
        2,
    ),
    **dict.fromkeys(["measures"], 2.5),
    **dict.fromkeys(["structure", "projection", "identifier_bytes", "identifier_reasons", "misread"], 2),
    **dict.fromkeys(["crossings"], 2),
    **dict.fromkeys(["too_large"], 4),
    **dict.fromkeys(["tangled", "package_writer"], 5),
    **dict.fromkeys(["postgres_process"], 3),
    **dict.fromkeys(["postgres"], 4),
    **dict.fromkeys(["catalog", "identifier_checks"], 3),
    **dict.fromkeys(
        ["reconciliation_due", "delivery_windows", "tickets", "engine", "identifier_citizen", "identifier_units"], 4
    ),
    **dict.fromkeys(["warehouse", "ledger", "identifiers", "casting", "damage"], 5),
    **dict.fromkeys(["freshness", "local_time"], 6),
    **dict.fromkeys(["render"], 7),
    **dict.fromkeys(["sources", "staging", "standardize", "quality", "library", "notices", "report"], 7),
    **dict.fromkeys(["pipeline", "authoring", "open_catalog"], 8),
    **dict.fromkeys(["doctor", "host_keys", "precheck", "reconciliation"], 9),
    **dict.fromkeys(["reconciliation_schedule"], 10),
    **dict.fromkeys(["orchestration"], 11),
    **dict.fromkeys(["ui"], 12),
    **dict.fromkeys(["demo"], 13),
    **dict.fromkeys(["bench"], 14),
    **dict.fromkeys(["cli_catalog"], 15),
    **dict.fromkeys(["cli_share", "cli_archive", "cli_decide"], 16),
    **dict.fromkeys(["cli"], 17),
    **dict.fromkeys(["__main__"], 18),
}
STEPS = {"sources", "staging", "standardize", "quality", "library", "notices", "report"}
#: checking is the second half of the pass that standardises
ALLOWED_BETWEEN_STEPS = {("quality", "standardize")}


def part_of(module: str) -> str:
    """``guiji.sources.ftp`` -> ``sources``."""
    return [*module.split("."), "__init__"][1]


def name_of(file: Path) -> str:
    return ".".join(("guiji", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def list_imports(file: Path) -> Iterator[tuple[str, int, bool]]:
    """(module, line, only for type checking) of every import in a file, those inside functions included."""
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) in typing_only
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: imports are absolute here"
            module = node.module or ""
            for alias in node.names:
                whole = PACKAGE.parent.joinpath(*module.split("."), alias.name)
                is_module = module == "guiji" and (whole.is_dir() or whole.with_suffix(".py").exists())
                yield (f"{module}.{alias.name}" if is_module else module), node.lineno, id(node) in typing_only


def test_every_part_has_a_layer() -> None:
    parts = {part_of(name_of(file)) for file in FILES}
    assert parts - set(LAYERS) == set(), "give it a place in LAYERS, and in the package's docstring"


def test_imports_go_one_way() -> None:
    wrong = []
    for file in FILES:
        here = part_of(name_of(file))
        for module, line, typing_only in list_imports(file):
            if not module.startswith("guiji.") or typing_only:
                continue
            there = part_of(module)
            if there == here or (here, there) in ALLOWED_BETWEEN_STEPS:
                continue
            # a part without a layer is the first test's matter
            if LAYERS.get(there, 0) >= LAYERS.get(here, 99):
                wrong.append(f"{file.relative_to(PACKAGE)}:{line}: {here} imports {module}")
    assert wrong == []


def test_steps_do_not_import_each_other() -> None:
    wrong = [
        f"{file.relative_to(PACKAGE)}:{line}: {module}"
        for file in FILES
        if (here := part_of(name_of(file))) in STEPS
        for module, line, _ in list_imports(file)
        if module.startswith("guiji.")
        and (there := part_of(module)) in STEPS - {here}
        and (here, there) not in ALLOWED_BETWEEN_STEPS
    ]
    assert wrong == []


def test_only_orchestration_and_ui_import_airflow() -> None:
    wrong = [
        f"{file.relative_to(PACKAGE)}:{line}: {module}"
        for file in FILES
        if part_of(name_of(file)) not in ("orchestration", "ui")
        for module, line, _ in list_imports(file)
        if module.split(".")[0] == "airflow"
    ]
    assert wrong == []


def test_only_the_catalog_imports_pydantic() -> None:
    wrong = [
        f"{file.relative_to(PACKAGE)}:{line}"
        for file in FILES
        if part_of(name_of(file)) != "catalog"
        for module, line, typing_only in list_imports(file)
        if module.split(".")[0] == "pydantic" and not typing_only
    ]
    assert wrong == []


HEAVY = {
    "great_expectations",
    "airflow",
    "matplotlib",
    "pandas",
    "duckdb",
    "paramiko",
    "pyarrow",
    "shapely",
    "sqlalchemy",
}


def test_the_command_line_starts_without_heavy_libraries() -> None:
    """What ``guiji --help`` imports, found by running it in a fresh interpreter."""
    import subprocess
    import sys

    code = "import sys, guiji.cli; print(' '.join({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & HEAVY == set()


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_nothing_reads_the_environment_at_import(file: Path) -> None:
    def at_import(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                yield from (
                    d
                    for default in (*child.args.defaults, *child.args.kw_defaults)
                    if default
                    for d in ast.walk(default)
                )
                continue
            if isinstance(child, ast.If) and "__main__" in ast.unparse(child.test):
                continue
            yield child
            yield from at_import(child)

    tree = ast.parse(file.read_text(encoding="utf-8"))
    reads = [
        f"line {node.lineno}"
        for node in at_import(tree)
        if isinstance(node, ast.Attribute | ast.Name)
        and (getattr(node, "attr", None) or getattr(node, "id", None)) in ("environ", "getenv", "environb", "from_env")
    ]
    assert reads == []
