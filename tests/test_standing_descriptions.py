"""What the standing DAGs say of the catalog is kept, and is never older than the catalog's files (F-59, F-60)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import airflow_here  # noqa: F401  before Airflow
import pytest
from small_catalog import MAPPING, write_catalog, write_resource

from guiji.orchestration.descriptions import StandingDag, load_descriptions
from guiji.orchestration.standing import describe_standing
from guiji.settings import ROOT, Settings

ONE = StandingDag("library", "population", display_name="基础库 · 人口库", resources=("gaj.r0000",), tags=("a", "b"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    write_catalog(tmp_path / "catalog", 3)
    monkeypatch.setenv("GUIJI_CATALOG", str(tmp_path / "catalog"))
    monkeypatch.setenv("GUIJI_HOME", str(tmp_path / "home"))
    return Settings.from_env()


class Counted:
    """Describes the catalog, and counts how often it was asked to."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.times = settings, 0

    def __call__(self) -> list[StandingDag]:
        self.times += 1
        return list(describe_standing(self.settings))


def serialize_standing() -> dict[str, Any]:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.serialized_objects import DagSerialization

    bag = DagBag(ROOT / "dags" / "standing.py", load_op_links=False)
    assert bag.import_errors == {}
    return {i: json.dumps(DagSerialization.to_dict(d), sort_keys=True) for i, d in sorted(bag.dags.items())}


def kept_file(settings: Settings) -> Path:
    (found,) = (settings.home / "dags").glob("standing-*.json")
    return found


def test_an_unchanged_catalog_is_described_once(home: Settings) -> None:
    describe = Counted(home)
    first = load_descriptions(home, describe)
    assert [d.name for d in first] == ["population"]
    assert load_descriptions(home, describe) == first
    assert describe.times == 1


def test_the_dags_of_what_is_kept_are_those_of_the_catalog(home: Settings) -> None:
    first = serialize_standing()
    assert kept_file(home).stat().st_mode & 0o077 == 0
    assert serialize_standing() == first
    assert "library.population" in first


def test_every_change_is_seen(home: Settings) -> None:
    catalog, describe = home.catalog, Counted(home)
    load_descriptions(home, describe)
    library, resource = catalog / "libraries" / "population.yml", catalog / "gaj" / "r0000.yml"
    before = library.stat()
    library.write_text(library.read_text(encoding="utf-8").replace("人口库", "住民库"), encoding="utf-8")
    os.utime(library, ns=(before.st_atime_ns, before.st_mtime_ns))  # as rsync -t and archives do
    assert library.stat().st_size == before.st_size
    assert [d.display_name for d in load_descriptions(home, describe)] == ["基础库 · 住民库"]

    write_resource(catalog, "gaj.added", name="新增", more=MAPPING, number=77)
    assert [d.resources for d in load_descriptions(home, describe)] == [("gaj.added", "gaj.r0000")]
    (catalog / "gaj" / "added.yml").rename(catalog / "gaj" / "moved.yml")  # its id is another now, and wrong in it
    assert [d.resources for d in load_descriptions(home, describe)] == [("gaj.r0000",)]
    resource.unlink()
    assert [d.resources for d in load_descriptions(home, describe)] == [()]
    library.write_text("name: population\n", encoding="utf-8")
    (broken,) = load_descriptions(home, describe)
    assert (broken.kind, broken.name) == ("broken", "population")
    assert any("population.yml" in p for p in broken.problems)
    assert describe.times == 6


def test_f59_a_file_that_cannot_be_read_takes_no_dag_away(home: Settings) -> None:
    (home.catalog / "gaj" / "gone.yml").symlink_to(home.home / "nowhere.yml")
    before = serialize_standing()
    assert "library.population" in before
    assert serialize_standing() == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"content": 1}',
        '{"content": "%s", "dags": [{"kind": "library"}]}',
        '{"content": "%s", "dags": 3}',
    ],
)
def test_what_is_damaged_is_made_again(home: Settings, text: str) -> None:
    describe = Counted(home)
    first = load_descriptions(home, describe)
    path = kept_file(home)
    content = json.loads(path.read_bytes())["content"]
    path.write_text(text.replace("%s", content), encoding="utf-8")
    assert load_descriptions(home, describe) == first
    assert describe.times == 2
    assert load_descriptions(home, describe) == first
    assert describe.times == 2


def test_where_nothing_can_be_kept_the_dags_are_the_same(home: Settings) -> None:
    home.home.mkdir(parents=True)
    (home.home / "dags").write_text("a file stands where the folder belongs", encoding="utf-8")
    describe = Counted(home)
    assert load_descriptions(home, describe) == load_descriptions(home, describe) == tuple(describe_standing(home))
    assert describe.times == 2


def test_a_catalog_that_changes_while_it_is_read_is_not_kept(home: Settings) -> None:
    library = home.catalog / "libraries" / "population.yml"

    def describe() -> list[StandingDag]:
        library.write_text(library.read_text(encoding="utf-8") + "# touched\n", encoding="utf-8")
        return [ONE]

    assert load_descriptions(home, describe) == (ONE,)
    assert not (home.home / "dags").exists()
    assert [d.name for d in load_descriptions(home, Counted(home))] == ["population"]


def test_two_catalogs_are_kept_apart(home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_catalog(tmp_path / "other", 1)
    first = load_descriptions(home, lambda: [ONE])
    monkeypatch.setenv("GUIJI_CATALOG", str(tmp_path / "other"))
    other = Settings.from_env()
    assert load_descriptions(other, lambda: []) == ()
    assert load_descriptions(home, lambda: []) == first == (ONE,)
    assert load_descriptions(other, lambda: [ONE]) == ()
