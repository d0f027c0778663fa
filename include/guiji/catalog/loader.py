"""Reads the catalog: ``<department>/department.yml``, ``<department>/<resource>.yml``, ``libraries/<name>.yml``.

One bad file never takes away the others (F-59): it is listed in ``Catalog.broken`` with its problems, and everything
that doesn't need it is loaded. A resource needs its own file and its department's; a broken library file breaks no
resource, for gathering goes on without it. Paths in problems are relative to the working directory where below it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from guiji.catalog.checks import check_department, check_resource
from guiji.catalog.collector import pause_collector
from guiji.catalog.fingerprint import fingerprint_rules
from guiji.catalog.links import check_across, check_library, check_resource_links
from guiji.catalog.models import DepartmentModel, LibraryModel, Resource, ResourceModel
from guiji.catalog.problems import Problem, find_nearest
from guiji.catalog.questions import check_open
from guiji.catalog.strict_yaml import Node, StrictYamlError, parse_yaml
from guiji.catalog.validate import locate, validate_tree
from guiji.city import read_city
from guiji.errors import CatalogError

LIBRARIES = "libraries"
DEPARTMENT_FILE = "department.yml"


@dataclass(frozen=True)
class Catalog:
    """All that could be loaded, and what could not. Dicts are in alphabetical order of their keys."""

    resources: Mapping[str, Resource]
    departments: Mapping[str, DepartmentModel]
    libraries: Mapping[str, LibraryModel]
    #: every problem of every file, warnings included
    problems: tuple[Problem, ...] = ()
    #: path of a file that can't be used -> its problems
    broken: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    #: id of a resource that can't be used -> its problems (for a placeholder in its place)
    broken_resources: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)

    def resource(self, id: str) -> Resource:
        """The resource, or a CatalogError that says what is wrong with it or which id was meant."""
        if id in self.resources:
            return self.resources[id]
        if id in self.broken_resources:
            raise _catalog_error(id, list(self.broken_resources[id]))
        raise _unknown_resource(id, [*self.resources, *self.broken_resources])

    def library(self, name: str) -> LibraryModel:
        """The library, or a CatalogError with the nearest name."""
        if name in self.libraries:
            return self.libraries[name]
        nearest = find_nearest(name, self.libraries)
        hint = f" Did you mean {nearest!r}?" if nearest else ""
        raise CatalogError(f"There is no library {name!r}. Allowed: {', '.join(self.libraries)}.{hint}", library=name)

    def feeding(self, library: str) -> list[Resource]:
        """The resources that feed a library, by id."""
        return [r for r in self.resources.values() if any(m.library == library for m in r.model.mappings)]

    def resources_of(self, department_id: str) -> list[Resource]:
        return [r for r in self.resources.values() if r.model.department_id == department_id]


@dataclass(frozen=True)
class _Parsed:
    """One resource file on its way."""

    model: ResourceModel
    tree: Node
    path: Path


@pause_collector()
def load_catalog(path: Path | str) -> Catalog:
    """Everything below ``path``. Raises CatalogError only when ``path`` is no directory."""
    root = _check_root(path)
    departments: dict[str, DepartmentModel] = {}
    libraries: dict[str, LibraryModel] = {}
    library_trees: dict[str, Node] = {}
    parsed: dict[str, _Parsed] = {}
    broken: dict[str, list[Problem]] = {}
    broken_ids: dict[str, list[Problem]] = {}
    loose: list[Problem] = []
    defaults: dict[str, Node | None] = {}

    for directory in _directories(root):
        loose += _check_file_names(directory)
        if directory.name == LIBRARIES:
            for file in _yaml_files(directory):
                library, tree, problems = _read_library(file)
                if library is None:
                    broken[_show(file)] = problems
                else:
                    libraries[library.name], library_trees[library.name] = library, tree
            continue
        files = [f for f in _yaml_files(directory) if f.name != DEPARTMENT_FILE]
        department, tree_of_defaults, problems = _read_department(directory)
        if department is None:
            broken[_show(directory / DEPARTMENT_FILE)] = problems
            for file in files:
                problem = Problem(
                    _show(file),
                    1,
                    1,
                    f"its department can't be loaded: {problems[0]}",
                    mend="Mend department.yml first.",
                )
                broken_ids[f"{directory.name}.{file.stem}"] = [problem]
                broken[_show(file)] = [problem]
            continue
        departments[department.id] = department
        defaults[department.id] = tree_of_defaults
        for file in files:
            model, tree, problems = _read_resource(file, tree_of_defaults)
            if model is None:
                broken[_show(file)] = problems
                broken_ids[f"{directory.name}.{file.stem}"] = problems
            else:
                parsed[model.id] = _Parsed(model, tree, file)

    known_departments = {*departments, *(i.partition(".")[0] for i in broken_ids)}  # a broken one exists all the same
    for name in sorted(libraries):
        problems = check_library(libraries[name], library_trees[name], known_departments)
        if problems:
            broken[library_trees[name].file] = problems
            libraries.pop(name)
    unusable = {Path(f).stem for f in broken if Path(f).parent.name == LIBRARIES}
    found: dict[str, list[Problem]] = {i: [] for i in parsed}
    for id_, p in parsed.items():
        found[id_] += check_resource_links(p.model, p.tree, libraries, unusable)
    for id_, extra in check_across({i: (p.model, p.tree) for i, p in parsed.items()}, libraries, library_trees).items():
        if id_ in found:
            found[id_] += extra
        else:
            loose += extra
    resources: dict[str, Resource] = {}
    for id_, p in sorted(parsed.items()):
        if any(not problem.warning for problem in found[id_]):
            broken[_show(p.path)] = found[id_]
            broken_ids[id_] = found[id_]
        else:
            loose += found[id_]
            resources[id_] = _build_resource(p.model, departments[p.model.department_id], p.path)
    every = [*loose, *(p for problems in broken.values() for p in problems)]
    return Catalog(
        resources=resources,
        departments=dict(sorted(departments.items())),
        libraries=dict(sorted(libraries.items())),
        problems=tuple(sorted(every, key=lambda p: (p.file, p.line, p.column))),
        broken={k: tuple(v) for k, v in sorted(broken.items())},
        broken_resources={k: tuple(v) for k, v in sorted(broken_ids.items())},
    )


def load_resource(path: Path | str, id: str, *, check_expressions: bool = True) -> Resource:
    """One resource from its own file and its department's; no other file is opened.

    Without ``check_expressions`` its conditions are not parsed here, which saves the parser's import (0.1 s) where a
    task is only being looked up; whoever runs a condition parses it by the allow-list in any case.
    What only the whole catalog can show (mappings, duplicates) is left to ``load_catalog`` and ``check_catalog``.
    Raises CatalogError with every problem, or with the nearest id where there is no such resource.
    """
    root = _check_root(path)
    department_name, _, name = id.partition(".")
    file = root / department_name / f"{name}.yml"
    # only a plain name may become a path: no separators, no parent folders
    plain = department_name.isidentifier() and name.isidentifier() and department_name != LIBRARIES
    plain = plain and name != Path(DEPARTMENT_FILE).stem
    if not plain or not file.is_file():
        raise _unknown_resource(id, list_resource_ids(root))
    department, defaults, problems = _read_department(root / department_name)
    if department is None:
        raise _catalog_error(id, problems)
    model, _, problems = _read_resource(file, defaults, expressions=check_expressions)
    if model is None:
        raise _catalog_error(id, problems)
    return _build_resource(model, department, file)


def load_department(path: Path | str, id: str) -> DepartmentModel:
    """One department from its own file. Raises CatalogError."""
    department, _, problems = _read_department(_check_root(path) / id)
    if department is None:
        raise _catalog_error(id, problems)
    return department


def load_libraries(path: Path | str) -> dict[str, LibraryModel]:
    """All libraries, without reading any resource. Raises CatalogError for the first file that can't be used."""
    libraries = {}
    for file in _yaml_files(_check_root(path) / LIBRARIES):
        library, _, problems = _read_library(file)
        if library is None:
            raise _catalog_error(file.stem, problems)
        libraries[library.name] = library
    return dict(sorted(libraries.items()))


def find_library(path: Path | str, name: str) -> LibraryModel | None:
    """One library from its own file; None where there is none that can be used."""
    return _read_library(Path(path) / LIBRARIES / f"{name}.yml")[0]


def check_catalog(path: Path | str) -> list[Problem]:
    """Every problem of every file, in file and line order; errors and warnings (``Problem.warning``).

    Beyond ``load_catalog``, the expressions of sound resources are bound to their fields' types in the engine.
    """
    from guiji.catalog.binding import check_types

    catalog = load_catalog(path)
    problems = list(catalog.problems)
    for resource in catalog.resources.values():
        found = check_types(resource.model)
        if found:
            file = Path(resource.path)
            tree = parse_yaml(file.read_bytes(), _show(file))
            problems += [Problem(*locate(tree, place), message) for place, message in found]
    return sorted(problems, key=lambda p: (p.file, p.line, p.column))


def list_resource_ids(path: Path | str) -> list[str]:
    """The ids that the file names promise, without reading the files (DAG files start from this)."""
    return [
        f"{directory.name}.{file.stem}"
        for directory in _directories(Path(path))
        if directory.name != LIBRARIES
        for file in _yaml_files(directory)
        if file.name != DEPARTMENT_FILE
    ]


# --- files --------------------------------------------------------------------------------------------


def _check_root(path: Path | str) -> Path:
    root = Path(path)
    if not root.is_dir():
        raise CatalogError(
            f"There is no catalog folder {root}. Set GUIJI_CATALOG to the folder that holds the departments."
        )
    return root


def _directories(root: Path) -> Iterator[Path]:
    for entry in sorted(root.iterdir()):
        if entry.is_dir() and not entry.name.startswith((".", "_")):
            yield entry


def _yaml_files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.yml")) if directory.is_dir() else []


def _check_file_names(directory: Path) -> list[Problem]:
    return [
        Problem(
            _show(f),
            1,
            1,
            "a catalog file's name ends with .yml, so this one is not read",
            mend=f"Rename it {f.stem}.yml.",
        )
        for f in sorted(directory.glob("*.yaml"))
    ]


def _show(path: Path) -> str:
    absolute, here = os.path.abspath(path), os.getcwd()
    return os.path.relpath(absolute, here) if absolute.startswith(here + os.sep) else absolute


def _read_tree(file: Path) -> tuple[Node | None, list[Problem]]:
    try:
        return parse_yaml(file.read_bytes(), _show(file)), []
    except StrictYamlError as exc:
        return None, exc.problems
    except OSError as exc:
        return None, [Problem(_show(file), 1, 1, f"the file can't be read: {exc.strerror}")]


def _read_department(directory: Path) -> tuple[DepartmentModel | None, Node | None, list[Problem]]:
    file = directory / DEPARTMENT_FILE
    if not file.is_file():
        mend = "Write who the department is and whom to write to."
        return None, None, [Problem(_show(file), 1, 1, f"there is no {DEPARTMENT_FILE} in this folder", mend=mend)]
    tree, problems = _read_tree(file)
    if tree is None:
        return None, None, problems
    model, problems = validate_tree(DepartmentModel, tree)
    if model is None:
        return None, None, check_open(tree, problems)
    problems = check_open(tree, check_department(model, tree, directory.name))
    if problems:
        return None, None, problems
    return model, tree.value.get("defaults"), []


def _read_resource(
    file: Path, defaults: Node | None, *, expressions: bool = True
) -> tuple[ResourceModel | None, Node, list[Problem]]:
    tree, problems = _read_tree(file)
    if tree is None:
        return None, Node(_show(file), 1, 1, None, {}), problems
    tree = _inherit(tree, defaults)
    model, problems = validate_tree(ResourceModel, tree)
    if model is None:
        return None, tree, check_open(tree, problems)
    problems = check_open(tree, check_resource(model, tree, file, expressions=expressions))
    return (None if any(not p.warning for p in problems) else model), tree, problems


def _inherit(tree: Node, defaults: Node | None) -> Node:
    """``tree`` with the department's defaults for top-level keys it doesn't have; their places stay theirs."""
    if defaults is None or not isinstance(tree.value, dict) or not isinstance(defaults.value, dict):
        return tree
    missing = {k: v for k, v in defaults.value.items() if k not in tree.value}
    keys = {k: defaults.keys[k] for k in missing}
    return replace(tree, value={**missing, **tree.value}, keys={**keys, **tree.keys})


def _read_library(file: Path) -> tuple[LibraryModel | None, Node, list[Problem]]:
    tree, problems = _read_tree(file)
    if tree is None:
        return None, Node(_show(file), 1, 1, None, {}), problems
    model, problems = validate_tree(LibraryModel, tree)
    if model is not None and model.name != file.stem:
        line, column = tree.keys.get("name", (1, 1))
        mend = f"Write name: {file.stem}."
        return (
            None,
            tree,
            [Problem(tree.file, line, column, f"name is {model.name!r}, but the file is {file.name}", mend=mend)],
        )
    return model, tree, problems


def _build_resource(model: ResourceModel, department: DepartmentModel, file: Path) -> Resource:
    # of a geometry without bounds of its own the city's decide: they are part of what a row is judged by
    placed = any(f.type == "geometry" and f.bounds is None for f in model.fields)
    catalog = file.parent.parent
    city = read_city(catalog) if placed else None
    bounds = city.bounds if city else None
    boundary = (str(catalog / city.boundary), float(city.boundary_margin_m)) if city and city.boundary else None
    units = _kept_units(model, catalog / LIBRARIES)
    return Resource(
        model=model,
        department=department,
        path=str(file),
        fingerprint=fingerprint_rules(model, bounds, boundary, units),
        city_bounds=bounds,
        city_boundary=boundary,
        kept_units=units,
    )


def _kept_units(model: ResourceModel, directory: Path) -> dict[str, tuple[tuple[str, ...], str]]:
    """What the libraries say of the fields that have a unit; of a library that can't be read nothing is known."""
    measured = {f.name for f in model.fields if f.unit is not None or f.unit_field is not None}
    found: dict[str, tuple[tuple[str, ...], str]] = {}
    for mapping in model.mappings:
        if not measured & set(mapping.fields.values()):
            continue
        library = find_library(directory.parent, mapping.library)
        for spec in library.fields if library else ():
            name = mapping.fields.get(spec.name)
            if name in measured and spec.units:
                found.setdefault(name, (tuple(spec.units), spec.type))
    return found


def _catalog_error(id: str, problems: list[Problem]) -> CatalogError:
    lines = "\n".join(f"  {p}" for p in problems)
    return CatalogError(
        f"The catalog entry {id} can't be used:\n{lines}\nNothing was run; mend the file, then try again.",
        tuple(problems),
        resource_id=id,
    )


def _unknown_resource(id: str, known: list[str]) -> CatalogError:
    nearest = find_nearest(id, known)
    hint = f" Did you mean {nearest!r}?" if nearest else ""
    return CatalogError(
        f"There is no resource {id!r} in the catalog.{hint} `guiji catalog list` shows them.", resource_id=id
    )
