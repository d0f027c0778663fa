"""The complete examples of the pages on geometry files and documents, with a delivery each, up to the verdict."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import shapely
from delivering import NOW, OCTOBER, plain_settings
from small_catalog import write_department
from staged_package import read_accepted, read_findings, read_rejected

from guiji.catalog import check_catalog, load_resource
from guiji.catalog.models import FilesSource, Resource
from guiji.quality import check_batch
from guiji.records import CheckedBatch
from guiji.settings import Settings
from guiji.sources import open_delivery
from guiji.staging import stage_batch

ROOT = Path(__file__).parents[1]
CORPUS = Path(__file__).parent / "corpus" / "geometry"


def load_example(page: str, catalog: Path) -> Resource:
    """The page's resource as the catalog loads it, without a problem."""
    match = re.search(
        r"```yaml\n(id: (\w+)\.(\w+)\n.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL
    )
    assert match
    write_department(catalog, match[2], "测试局")
    (catalog / match[2] / f"{match[3]}.yml").write_text(match[1], encoding="utf-8")
    assert [str(p) for p in check_catalog(catalog)] == []
    return load_resource(catalog, f"{match[2]}.{match[3]}")


def check_delivery(resource: Resource, folder: Path, settings: Settings) -> CheckedBatch:
    """The verdict on what lies in ``folder``, which stands for the department's server."""
    said: Any = resource.model.source
    source = FilesSource(kind="files", directory=str(folder), pattern=said.pattern, format=said.format)
    resource = resource.model_copy(update={"model": resource.model.model_copy(update={"source": source})})
    settings = settings.at(NOW)
    delivery = open_delivery(
        resource, settings, OCTOBER, watermark=None, known_files=(), scratch=settings.home / "scratch"
    )
    return check_batch(resource, settings, stage_batch(resource, settings, OCTOBER, delivery, "0" * 16))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return plain_settings(tmp_path / "home")


def test_the_example_of_geometry_files(tmp_path: Path, settings: Settings) -> None:
    resource = load_example("supply/geometry.md", tmp_path / "catalog")
    (tmp_path / "upload").mkdir()
    (tmp_path / "upload" / "greens_20261019.zip").write_bytes((CORPUS / "polygons.zip").read_bytes())
    checked = check_delivery(resource, tmp_path / "upload", settings)
    assert read_rejected(checked) == {}
    rows = read_accepted(checked, "code", "name", "area_ha", "shape")
    assert [row[:3] for row in rows] == [
        ("150602001", "东胜区绿地", 12.5),
        ("150603002", "康巴什𠮷园", 0.1),
        ("150627003", None, 3.0),
    ]
    assert [shapely.from_wkb(row[3]).geom_type for row in rows] == ["Polygon", "MultiPolygon", "Polygon"]
    assert [round(float(shapely.from_wkb(row[3]).area), 6) for row in rows] == [0.03, 0.026, 0.005]


def test_the_example_of_documents(tmp_path: Path, settings: Settings) -> None:
    resource = load_example("supply/documents.md", tmp_path / "catalog")
    (tmp_path / "permits").mkdir()
    for name, content in {
        "20260001_批复.pdf": b"%PDF-1.7\n%%EOF\n",
        "20260002_批复.pdf": b"%PDF-1.7\n%%EOF\n",
        "20260002_附图.pdf": b"GIF89a;",
        "20260003_附图.png": b"",
    }.items():
        (tmp_path / "permits" / name).write_bytes(content)
    checked = check_delivery(resource, tmp_path / "permits", settings)
    assert read_rejected(checked) == {4: ["structure.empty_file"]}
    names = ("permit_no", "kind", "size", "media_type", "name_fits", "duplicate_of")
    assert read_accepted(checked, *names) == [
        ("20260001", "批复", 15, "application/pdf", True, None),
        ("20260002", "批复", 15, "application/pdf", True, "20260001_批复.pdf"),
        ("20260002", "附图", 7, "image/gif", False, None),
    ]
    assert all(isinstance(at, datetime) for (at,) in read_accepted(checked, "modified_at"))
    assert read_findings(checked) == {
        (3, "ending", "suspicious"),
        (4, "structure.empty_file", "rejected"),
    }


def test_one_document_is_checked_before_it_is_delivered(tmp_path: Path, settings: Settings) -> None:
    from guiji.precheck.verdict import read_from

    resource = load_example("supply/documents.md", tmp_path / "catalog")
    for name in ("20260001_批复.pdf", "20260002_批复.pdf"):
        (tmp_path / name).write_bytes(b"%PDF-1.7\n%%EOF\n")
    only = read_from(resource, tmp_path / "20260001_批复.pdf")
    assert read_accepted(check_delivery(only, tmp_path, settings), "permit_no", "kind") == [("20260001", "批复")]
