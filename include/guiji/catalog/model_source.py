"""What ``source:`` of a resource file may say: where a delivery lies, when it is complete, and what form it has."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from guiji.catalog.model_base import Model


class Completeness(Model):
    """When is a file complete (F-33)."""

    mode: Literal["ok_file", "stable"] = "stable"
    """ok_file: a marker file beside it; stable: size and time unchanged over two polls"""
    suffix: str = ".ok"
    """what the marker file's name adds to the file's (``a.csv`` + ``.ok``)"""
    seconds: float = 5
    """how long size and time must stay unchanged"""


class Unpivot(Model):
    """A wide table becomes one row per observation (economy); blank cells are not rows."""

    keep: list[str]
    """columns that stay (source names)"""
    columns: str
    """regular expression of the columns to turn into rows; group 1, where given, is the value of ``into``"""
    into: str
    """name of the new column that holds what the column names say"""
    value: str
    """name of the new column that holds the cell"""


class Layout(Model):
    """Where the table stands in the file. The header is located by the declared column names."""

    sheet: str | None = None
    """sheet name (xlsx); the only visible sheet with the header where absent"""
    metadata: dict[str, str] = {}
    """new column -> regular expression over the lines above the header; group 1 is its value on every row"""
    footnote: str | None = None
    """regular expression: from the first line that matches on, nothing is data; counted as skipped"""
    total: str | None = None
    """regular expression of the first cell of total lines; counted as skipped"""
    unpivot: Unpivot | None = None
    """turn columns into rows"""


class Format(Model):
    """The form of a file."""

    type: Literal["csv", "xlsx", "json", "geojson"] = "csv"
    """csv, xlsx, json or geojson"""
    encoding: Literal["auto", "utf-8", "gb18030"] = "auto"
    """auto: BOM, then UTF-8 strict, then GB18030 strict"""
    delimiter: Annotated[str, StringConstraints(strip_whitespace=False)] = ","
    """one character between cells (csv)"""
    quote: str = '"'
    """one character around cells (csv)"""
    layout: Layout = Layout()
    """where the table stands in the file"""


class DatabaseSource(Model):
    kind: Literal["database"]
    """database: PostgreSQL, MySQL/MariaDB, SQLite; which of them the connection says"""
    connection: str
    """connection id (AIRFLOW_CONN_<ID> or Airflow's own)"""
    schema_: str | None = Field(default=None, alias="schema")
    """schema of the table; the connection's default where absent"""
    table: str
    """table or view"""
    filter: str | None = None
    """condition on the source's columns; parsed with an allow-list"""
    cursor: str | None = None
    """source column that grows with every change (incremental resources)"""
    lag_seconds: int = Field(default=0, ge=0)
    """safety lag and overlap of an incremental read"""
    chunk_rows: int = Field(default=65536, ge=1)
    """rows held in memory at a time"""


class RemoteFilesSource(Model):
    kind: Literal["sftp", "ftp"]
    """sftp or ftp"""
    connection: str
    """connection id; an SFTP connection carries the pinned host key"""
    directory: str
    """folder on the server"""
    pattern: str
    """regular expression of the whole file name; a group named ``date`` gives the business date"""
    date_format: str = "%Y%m%d"
    """strptime format of the group ``date``"""
    complete: Completeness = Completeness()
    """when a file is complete"""
    format: Format = Format()
    """the form of the files"""


class FilesSource(Model):
    kind: Literal["files"]
    """files: a folder of exported files"""
    directory: str
    """absolute, or below GUIJI_REAL_DATA / an environment variable written as ${NAME}/…"""
    pattern: str
    """regular expression of the whole file name; a group named ``date`` gives the business date"""
    date_format: str = "%Y%m%d"
    """strptime format of the group ``date``"""
    complete: Completeness = Completeness(seconds=0)
    """when a file is complete"""
    format: Format = Format()
    """the form of the files"""


class Paging(Model):
    style: Literal["none", "page", "offset", "cursor"] = "page"
    """none: one answer; page: page numbers; offset: row numbers; cursor: the answer names the next"""
    parameter: str = "page"
    """query parameter that carries page number, offset or cursor"""
    first: int = 1
    """number of the first page or row"""
    size_parameter: str | None = "size"
    """query parameter that carries the page size; null where there is none"""
    size: int = Field(default=500, ge=1)
    """rows asked for per page"""
    next: str | None = None
    """dotted path of the next cursor in the answer (style cursor)"""
    max_pages: int = Field(default=100_000, ge=1)
    """more pages than this are taken for an endless loop"""


class HttpSource(Model):
    kind: Literal["http"]
    """http: an interface that answers JSON"""
    connection: str
    """connection id; its host, port, login and password are used"""
    path: str
    """path below the connection's host"""
    parameters: dict[str, str] = {}
    """fixed query parameters; {window_start} and {window_end} are replaced by ISO timestamps"""
    records: str = "data"
    """dotted path of the list of records"""
    total: str | None = None
    """dotted path of the total count; reconciled where given"""
    code: str | None = None
    """dotted path of the business code"""
    ok: list[str] = ["0", "200"]
    """business codes that mean success"""
    message: str | None = None
    """dotted path of the message of a failed answer"""
    cursor: str | None = None
    """record field that grows with every change (incremental resources)"""
    lag_seconds: int = 0
    """safety lag and overlap of an incremental read"""
    paging: Paging = Paging()
    """how the pages are asked for"""
    token_header: str | None = None
    """header that carries the connection's password as a token"""


Source = Annotated[DatabaseSource | RemoteFilesSource | FilesSource | HttpSource, Field(discriminator="kind")]
