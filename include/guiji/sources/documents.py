"""A delivery of documents: all files that are due make one register, a row each; their content is looked at, not kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.records import DeliveredFile, Delivery, ReadReport
from guiji.sources.columns import expected_columns
from guiji.sources.formats.documents import Document, document_batches, look_at

if TYPE_CHECKING:
    from guiji.catalog.models import Resource
    from guiji.sources.remote import Candidate


def open_documents(
    resource: Resource,
    ready: Sequence[Candidate],
    fetch: Callable[[Candidate, Path], tuple[Path, str]],
    known_files: Sequence[DeliveredFile],
    scratch: Path,
    combine: Callable[[str], str],
) -> Delivery:
    """One delivery of all ``ready`` files, fetched one after another; none of them rests here longer than that.

    The same files with the same content are the same delivery. ``fetch`` raises what fetching raises.
    """
    source = resource.model.source
    pattern = getattr(source, "pattern", None)
    files, documents = list[DeliveredFile](), list[Document]()
    for candidate in sorted(ready, key=lambda c: c.file.name):
        listed = candidate.file
        path, digest = fetch(candidate, scratch / "document")
        try:
            documents.append(look_at(path, listed.name, listed.modified_at, pattern, digest))
        finally:
            path.unlink(missing_ok=True)
        day = candidate.business_date.isoformat() if candidate.business_date else None
        files.append(DeliveredFile(listed.name, listed.size, listed.modified_at, digest, day))
    # the ledger tells the latest first: the earliest name of a content is the one it goes by
    published = [k for k in known_files if getattr(k, "status", "published") == "published"]
    known = {k.sha256: k.path for k in published}
    report, expected = ReadReport(), expected_columns(resource)
    names = [d.name for d in documents]
    batches = document_batches(documents, names, expected, report, resource.model.name, known)
    fingerprint = combine("".join(f"{f.path}\n{f.sha256}\n" for f in files))
    return Delivery(expected.columns, batches, report, tuple(files), fingerprint)
