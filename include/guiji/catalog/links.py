"""Whether files agree with each other: libraries with departments, resources with libraries, resources among themselves."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from guiji.catalog.checker import Checker
from guiji.catalog.checks_units import check_library_units, check_measured
from guiji.catalog.fingerprint import list_code_tables
from guiji.catalog.models import TYPE_PATTERN, FieldSpec, LibraryField, LibraryModel, ResourceModel
from guiji.catalog.problems import Problem
from guiji.catalog.strict_yaml import Node

#: columns of every library's history; ``library.tables`` refuses them too
RESERVED = frozenset({"valid_from", "valid_to"})


def check_library(model: LibraryModel, tree: Node, departments: Collection[str]) -> list[Problem]:
    c = Checker(tree)
    if not model.key:
        c.add(("key",), "a library needs at least one key field")
    if not model.fields:
        c.add(("fields",), "a library needs at least one field")
    names: dict[str, str] = {}
    for part, fields in (("key", model.key), ("fields", model.fields)):
        for i, spec in enumerate(fields):
            if spec.name in names:
                c.add((part, i), f"field {spec.name!r} is given twice")
            names[spec.name] = part
            if spec.name in RESERVED:
                mend = f"Name it otherwise, for instance {spec.name.replace('valid', 'in_force')}."
                c.add((part, i, "name"), f"the field name {spec.name!r} is taken by the library's history", mend=mend)
            _check_library_field(c, (part, i), spec, part == "key", departments)
    _check_links(c, model)
    check_library_units(c, model)
    asked = [*model.demand, *dict.fromkeys(i.partition(".")[0] for i in model.demand)]
    for name in model.demand_names:
        if name not in asked:
            c.add(("demand_names", name), f"{name!r} is not on the demand list", allowed=asked, word=name)
    return c.problems


def _check_links(c: Checker, model: LibraryModel) -> None:
    seen: set[str] = set()
    for i, link in enumerate(model.links):
        if link.name in seen:
            c.add(("links", i), f"link {link.name!r} is given twice")
        seen.add(link.name)
        if len(link.key) != len(model.key):
            wanted = ", ".join(k.name for k in model.key)
            c.add(("links", i, "key"), f"key has {len(link.key)} fields, but the library has the key {wanted}")
    if model.matching is None:
        return
    names = [f.name for f in model.fields]
    texts = [f.name for f in model.fields if f.type == "string"]
    c.check_names(("matching", "block"), model.matching.block, names, "field")
    for name in model.matching.compare:
        if name not in texts:
            c.add(("matching", "compare", name), f"{name!r} is no text field of the library", allowed=texts, word=name)
    if model.vintages:
        c.add(("matching",), "a library with vintages has no entities to match", mend="Leave matching out.")


def _check_library_field(
    c: Checker, path: tuple[str, int], spec: LibraryField, is_key: bool, departments: Collection[str]
) -> None:
    if not TYPE_PATTERN.match(spec.type):
        allowed = ("string", "int64", "float64", "bool", "date32", "timestamp", "geometry", "decimal128(p,s)")
        c.add((*path, "type"), f"type is {spec.type!r}", allowed=allowed, word=spec.type)
    if spec.type == "geometry" and not spec.crs:
        c.add(path, f"field {spec.name}: a geometry needs crs, for instance EPSG:4490")
    c.check_names((*path, "authority"), spec.authority, departments, "department")
    if spec.strategy in ("longest", "union") and spec.type != "string":
        c.add((*path, "strategy"), f"field {spec.name}: strategy {spec.strategy} is for texts, not {spec.type}")
    number = spec.type in ("int64", "float64") or spec.type.startswith("decimal128")
    for name in ("tolerance", "tolerance_share"):
        if getattr(spec, name) is not None and not number:
            c.add((*path, name), f"field {spec.name}: {name} is for numbers, not {spec.type}")
    if spec.codes is not None and spec.codes not in list_code_tables():
        what = f"field {spec.name}: there is no code table {spec.codes!r} in quality/codes"
        c.add((*path, "codes"), what, allowed=list_code_tables(), word=spec.codes)
    if not is_key and spec.strategy == "authority" and not spec.authority and spec.unit_of is None:
        c.add(path, f"field {spec.name}: strategy authority needs authority, the departments in order")


def check_resource_links(
    model: ResourceModel, tree: Node, libraries: Mapping[str, LibraryModel], broken_libraries: Collection[str]
) -> list[Problem]:
    """Whether the mappings fit their libraries; a mapping to a library that is itself broken is left alone."""
    c = Checker(tree)
    seen: set[str] = set()
    for i, mapping in enumerate(model.mappings):
        path = ("mappings", i)
        if mapping.library in seen:
            c.add(path, f"library {mapping.library!r} is mapped twice", mend="Make one mapping of the two.")
        seen.add(mapping.library)
        library = libraries.get(mapping.library)
        if library is None:
            if mapping.library not in broken_libraries:
                c.add(
                    (*path, "library"),
                    f"there is no library {mapping.library!r}",
                    allowed=sorted(libraries),
                    word=mapping.library,
                )
            continue
        for name in mapping.by:
            link = next((x for x in library.links if x.name == name), None)
            if link is None:
                allowed = [x.name for x in library.links]
                c.add((*path, "by", name), f"library {library.name} has no link {name!r}", allowed=allowed, word=name)
            elif len(mapping.by[name]) != len(link.fields):
                c.add(
                    (*path, "by", name), f"{name} has {len(mapping.by[name])} fields, the link has {len(link.fields)}"
                )
        if len(mapping.key) != len(library.key) and not (mapping.by and not mapping.key):
            wanted = ", ".join(k.name for k in library.key)
            c.add((*path, "key"), f"key has {len(mapping.key)} fields, but library {library.name} has the key {wanted}")
        names = [f.name for f in library.fields]
        for target, name in mapping.fields.items():
            where = (*path, "fields", target)
            if target not in names:
                c.add(where, f"library {library.name} has no field {target!r}", allowed=names, word=target)
                continue
            field = next(f for f in library.fields if f.name == target)
            spec = model.field(name)
            if field.unit_of is not None:
                mend = "Leave it out."
                c.add(where, f"{target} always says the unit of {field.unit_of}, it is not mapped", mend=mend)
                continue
            check_measured(c, where, library, field, spec, model)
            _check_coded(c, where, library, field, spec)
            if not _fits(spec.type, field.type):
                c.add(where, f"{name} is {spec.type}, but {library.name}.{target} is {field.type}")
            if spec.sensitivity > field.sensitivity:
                c.add(
                    where,
                    f"{name} has sensitivity {spec.sensitivity}, but {library.name}.{target} only {field.sensitivity}",
                )
            if field.strategy == "authority" and model.department_id not in field.authority:
                c.add(
                    where,
                    f"{model.department_id} is no authority for {library.name}.{target}, so this value could never win",
                    allowed=field.authority,
                    mend="Leave the field out, or name the department in the library's file.",
                )
        for name, key in zip(mapping.key, library.key, strict=False):
            spec = model.field(name)
            if not _fits(spec.type, key.type):
                c.add((*path, "key"), f"{name} is {spec.type}, but the key {library.name}.{key.name} is {key.type}")
            _check_coded(c, (*path, "key"), library, key, spec)
            if spec.sensitivity > key.sensitivity:
                c.add(
                    (*path, "key"),
                    f"{name} has sensitivity {spec.sensitivity}, but the key {library.name}.{key.name} only {key.sensitivity}",
                )
    return c.problems


def _check_coded(
    c: Checker, where: tuple[str | int, ...], library: LibraryModel, field: LibraryField, spec: FieldSpec
) -> None:
    if field.codes is not None and spec.codes != field.codes:
        what = f"{spec.name} is not judged by the code table of {library.name}.{field.name}"
        c.add(
            where,
            what,
            mend=f"Write codes: {field.codes} there, and code_map for what this department writes otherwise.",
        )


def _fits(source: str, target: str) -> bool:
    """Whether a value of one type keeps its meaning in another: the same type, any number in a wider one."""
    if source.split("(")[0] == target.split("(")[0]:
        return True
    return (source, target.split("(")[0]) in {("int64", "decimal128"), ("int64", "float64"), ("date32", "timestamp")}


def check_across(
    resources: Mapping[str, tuple[ResourceModel, Node]],
    libraries: Mapping[str, LibraryModel],
    library_trees: Mapping[str, Node],
) -> dict[str, list[Problem]]:
    """What only several files together show, by resource id (or file): codes used twice, mapping twins, demand."""
    found: dict[str, list[Problem]] = {}
    codes: dict[str, str] = {}
    twins: dict[tuple[str, str, str], str] = {}
    for id_, (model, tree) in sorted(resources.items()):
        c = Checker(tree)
        if model.code in codes:
            c.add(("code",), f"code {model.code!r} is already used by {codes[model.code]}")
        codes.setdefault(model.code, id_)
        for i, mapping in enumerate(model.mappings):
            for target in mapping.fields:
                twin = twins.setdefault((model.department_id, mapping.library, target), id_)
                library = libraries.get(mapping.library)
                if twin != id_ and library is not None and not library.vintages and mapping.where is None:
                    other = next(m for m in resources[twin][0].mappings if m.library == mapping.library)
                    if other.where is None and model.category == resources[twin][0].category:
                        c.add(
                            ("mappings", i, "fields", target),
                            f"{twin} of the same department and category already feeds {mapping.library}.{target}",
                            mend="Check that the same data are not collected twice.",
                            warning=True,
                        )
        if c.problems:
            found[id_] = c.problems
    tables: dict[str, str] = {}
    for name, library in sorted(libraries.items()):
        c = Checker(library_trees[name])
        _check_through(c, library, resources)
        if library.table in tables:
            c.add(("table",), f"table {library.table!r} is already used by library {tables[library.table]}")
        tables.setdefault(library.table, name)
        if c.problems:
            found[library_trees[name].file] = c.problems
    return found


def _check_through(c: Checker, library: LibraryModel, resources: Mapping[str, tuple[ResourceModel, Node]]) -> None:
    """Whether the resource that a link goes through has the fields, and keys of the library's types."""
    for i, link in enumerate(library.links):
        if link.through not in resources:
            c.add(
                ("links", i, "through"),
                f"there is no resource {link.through!r}",
                allowed=sorted(resources),
                word=link.through,
            )
            continue
        model = resources[link.through][0]
        names = [f.name for f in model.fields]
        c.check_names(("links", i, "fields"), link.fields, names, "field")
        c.check_names(("links", i, "key"), link.key, names, "field")
        if not any(m.library == library.name and m.key == link.key for m in model.mappings):
            c.add(
                ("links", i, "through"),
                f"{link.through} doesn't feed {library.name} by {', '.join(link.key)}, so its changes would go unnoticed",
                mend="Map it into the library, with no fields if it has nothing to give.",
            )
        for name, spec in zip(link.key, library.key, strict=False):
            if name in names and model.field(name).type != spec.type:
                c.add(
                    ("links", i, "key"), f"{name} is {model.field(name).type}, but the key {spec.name} is {spec.type}"
                )
