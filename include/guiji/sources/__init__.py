"""What departments deliver, opened for reading: databases, SFTP, FTP, folders of files and HTTP interfaces.

``open_delivery`` finds the delivery, compares its columns with the declared ones in both directions (``columns``) and
gives record batches of bounded size; nothing is kept here, what was read before is told by the caller.

    database           tables: ``database_postgres`` (ADBC), ``database_rows`` (all others, as text), ``dialects``
    remote             what files share: candidates, completeness, download, archive; ``files``, ``sftp``, ``ftp``
    http               paged interfaces: ``http_client``, ``http_pages``, ``http_signature``
    formats/           csv, xlsx, json, geojson; where the table stands in the file

A row that can't be read beyond doubt is set aside with its line and reason (``guiji.structure``); a delivery whose
structure is broken is refused. Text stays text; types are the catalog's business, later.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.records import DeliveredFile, Delivery, Window

if TYPE_CHECKING:
    from guiji.catalog.models import Resource
    from guiji.settings import Settings


def open_delivery(
    resource: Resource,
    settings: Settings,
    window: Window,
    *,
    watermark: str | None,
    known_files: Sequence[DeliveredFile],
    scratch: Path,
    explicit: bool = False,
    resume: Path | None = None,
) -> Delivery:
    """The delivery of ``resource``, opened for reading once.

    ``explicit``: just this window is to be read again (a backfill): incremental tables are read within it and leave
    the watermark alone, of dated files those in it are taken even if they are known. ``resume``: a folder that outlives
    this run, for what an extraction in ranges has finished. Raises NothingDelivered,
    SourceUnavailable, SourceRefused, DeliveryRefused; the last also while batches are read.
    """
    kind = resource.model.source.kind
    if kind == "database":
        from guiji.sources.database import open_table

        return open_table(resource, settings, window, watermark, explicit, resume or scratch / "chunks")
    if kind == "http":
        from guiji.sources.http import open_interface

        return open_interface(resource, settings, window, watermark, explicit)
    from guiji.sources.remote import open_folder

    return open_folder(resource, settings, window, known_files=known_files, scratch=scratch, explicit=explicit)


def probe(resource: Resource, settings: Settings) -> None:
    """Tests that the source can be reached and lets us in, without reading a row.

    Raises what ``open_delivery`` raises; NothingDelivered is not a failure of the connection and is not raised.
    """
    kind = resource.model.source.kind
    if kind == "database":
        from guiji.sources.database import probe_database

        probe_database(resource, settings)
    elif kind == "http":
        from guiji.sources.http import probe_interface

        probe_interface(resource, settings)
    else:
        from guiji.sources.remote import probe_folder

        probe_folder(resource, settings)


def archive_delivered(resource: Resource, settings: Settings, known_files: Sequence[DeliveredFile]) -> list[str]:
    """Moves published files to the archive that the catalog declares; returns what could not be moved, in Chinese.

    Raises SourceUnavailable, SourceRefused; a later call makes up for it.
    """
    if getattr(resource.model.source, "archive", None) is None:
        return []
    from guiji.sources.remote import archive_published

    return archive_published(resource, settings, known_files)
