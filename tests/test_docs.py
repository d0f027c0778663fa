"""Documents and code are checked against each other: every command, every setting, every bench, every link."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from guiji.bench import BENCHES
from guiji.cli import app
from guiji.settings import ROOT

READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")
DOCUMENTS = (*READMES, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "include" / "catalog" / "README.md")


def list_commands() -> set[str]:
    """Every command of the command line, subcommands written with their group."""
    group = typer.main.get_command(app)
    assert hasattr(group, "commands")
    names: set[str] = set()
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        names |= {f"{name} {sub}" for sub in inner} if inner else {name}
    return names


def test_the_readme_names_every_command_and_no_other() -> None:
    table = re.findall(r"`\./guiji ([^`]+)`", (ROOT / "README.md").read_text(encoding="utf-8"))
    named: set[str] = set()
    for entry in table:
        words = entry.replace("\\|", "|").split()
        if words[0] in ("catalog", "hold", "link", "notices", "share") and len(words) > 1:
            named |= {f"{words[0]} {sub}" for sub in words[1].split("|")}
        else:
            named.add(words[0])
    assert named - {"catalog", "hold", "link", "notices", "share"} == list_commands()


def test_the_readme_names_every_setting_that_the_code_reads() -> None:
    source = (ROOT / "include" / "guiji" / "settings.py").read_text(encoding="utf-8")
    read = set(re.findall(r'e\.get\("(GUIJI_[A-Z_]+)"\)', source))
    documented = set(re.findall(r"^\| `(GUIJI_[A-Z_]+)`", (ROOT / "README.md").read_text(encoding="utf-8"), re.M))
    assert read
    assert documented == read


def test_every_bench_can_be_loaded() -> None:
    from guiji.bench import load_bench

    assert {name: callable(load_bench(name)) for name in BENCHES} == dict.fromkeys(BENCHES, True)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) if "://" not in t]
    assert [t for t in targets if not (document.parent / t).exists()] == []
