"""What ``source:`` of a resource file may say: where a delivery lies, when it is complete, and what form it has."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints, model_validator

from guiji.catalog.model_base import Model


class Completeness(Model):
    """When is a file complete (F-33)."""

    mode: Literal["ok_file", "manifest", "stable"] = "stable"
    """ok_file: a marker file beside it; manifest: a list of files with size and hash, which together are one delivery;
    stable: size and time unchanged over two polls"""
    suffix: str = ".ok"
    """what the marker file's name adds to the file's (``a.csv`` + ``.ok``)"""
    manifest: str | None = None
    """regular expression of the manifest's whole name (mode manifest); its group ``date`` gives the business date"""
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
    """sheet name (spreadsheets); the only visible sheet with the header where absent"""
    sheets: str | None = None
    """regular expression of whole sheet names: every visible sheet that matches is read, one after another, each with
    its own header; a named group becomes a column of that name, whose value the sheet's name gives"""
    header_rows: int = Field(default=1, ge=1, le=5)
    """rows that the header takes (spreadsheets). The names of a column are joined from above to below; an upper cell
    that is merged counts for all columns below it"""
    header_joiner: Annotated[str, StringConstraints(strip_whitespace=False)] = "/"
    """what stands between the joined names of a header of several rows (常住人口/男)"""
    fill_merged: list[str] = []
    """columns (spreadsheets) in which a cell merged over several rows counts for each of them; elsewhere the rows below its
    first are set aside"""
    metadata: dict[str, str] = {}
    """new column -> regular expression over the lines above the header; group 1 is its value on every row"""
    footnote: str | None = None
    """regular expression: from the first line that matches on, nothing is data; counted as skipped"""
    total: str | None = None
    """regular expression of the first cell that is not blank in total lines; counted as skipped, named in the notes. Where
    it is absent, a row whose key says 合计 or the like is set aside; the empty text says that such rows are data"""
    unpivot: Unpivot | None = None
    """turn columns into rows"""


class Format(Model):
    """The form of a file."""

    type: Literal[
        "csv", "xlsx", "xls", "xlsb", "ods", "fods", "html", "xml2003", "json", "geojson", "jsonl", "xml", "parquet", "dbf",
        "sql", "shapefile", "geopackage", "document"
    ] = "csv"  # fmt: skip
    """the form: csv, xlsx, xls, xlsb, ods, fods (OpenDocument in one XML file), html (tables of a web page), xml2003
    (SpreadsheetML; both are what many systems export as .xls), json, geojson, jsonl (a JSON record per line), xml, parquet, dbf, sql (a table
    backup), shapefile (zipped), geopackage, document (any file: it is registered, its content is not read)"""
    archive: Literal["none", "zip", "gzip"] = "none"
    """what the file is packed in; unpacked under limits, archives within archives are refused"""
    member: str | None = None
    """regular expression of the whole name of the files to read in a zip archive; all of them where absent"""
    encoding: Literal["auto", "utf-8", "gb18030", "utf-16", "utf-16-le", "utf-16-be"] = "auto"
    """auto: BOM, then UTF-8 strict, then GB18030 strict; utf-16 has a BOM, utf-16-le and utf-16-be have none"""
    delimiter: Annotated[str, StringConstraints(strip_whitespace=False)] = ","
    """one ASCII character between cells (csv)"""
    quote: str = '"'
    """one ASCII character around cells; empty where quotes are text like any other (csv)"""
    escape: str | None = None
    """one ASCII character that takes the next one's meaning away, for instance a backslash; ``\\N`` is then no value (csv)"""
    comment: str | None = None
    """one ASCII character: lines that begin with it are counted as skipped (csv)"""
    header: bool = True
    """false: no header; the columns are the declared ones in their order (csv)"""
    trailing_delimiter: bool = False
    """every line ends with a delimiter after its last cell (csv)"""
    records: str | None = None
    """path of the record element from the root, names joined by / (xml), or dotted path of the list of records (json)"""
    table: str | None = None
    """table whose rows are read, ``schema.table`` where the name alone is not enough (sql); layer (geopackage), its only
    one where absent"""
    dialect: Literal["auto", "postgresql", "mysql"] = "auto"
    """whose backup it is (sql); auto: what its first lines say"""
    int96: Literal["utc", "local"] | None = None
    """what old timestamps without a zone mean (parquet): utc for Hive and Spark, local for the resource's time zone"""
    max_seconds: int = Field(default=600, ge=1, le=86_400)
    """longest time that reading a spreadsheet may take, what is done with its rows not counted; then it is refused"""
    layout: Layout = Layout()
    """where the table stands in the file"""

    @model_validator(mode="after")
    def _marks_are_apart(self) -> Format:
        marks = {"delimiter": self.delimiter, "quote": self.quote, "escape": self.escape, "comment": self.comment}
        for name, mark in marks.items():
            if mark and (len(mark) != 1 or not mark.isascii() or mark.isalnum() or mark in "\r\n\x00 "):
                raise ValueError(
                    f"{name} is {mark!r}; it must be one ASCII character that is no letter, digit, blank or line break"
                )
        if not self.delimiter:
            raise ValueError("delimiter is empty; write the character between cells, for instance ',' or '\\t'")
        given = [mark for mark in marks.values() if mark]
        if len(set(given)) < len(given):
            raise ValueError(
                "delimiter, quote, escape and comment must differ; double quotes inside cells need no escape"
            )
        if not self.header and (self.layout.metadata or self.layout.unpivot):
            raise ValueError("header: false leaves no header to look for: metadata and unpivot need one")
        return self

    @model_validator(mode="after")
    def _demand_where(self) -> Format:
        if self.type in ("json", "jsonl", "xml", "parquet", "dbf", "sql") and self.layout != Layout():
            raise ValueError(f"type {self.type} holds named records, no layout of lines: leave layout out")
        if self.type == "xml" and not self.records:
            raise ValueError("type xml needs records: the path of the record element, for instance data/row")
        if self.type == "sql" and not self.table:
            raise ValueError("type sql needs table: the table whose rows are read")
        return self


class DatabaseSource(Model):
    kind: Literal["database"]
    """database: PostgreSQL, MySQL/MariaDB, SQLite, Oracle, SQL Server and others; which of them the connection says"""
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
    chunk_key: str | None = None
    """source column whose values never change (best the primary key). The table is then read in ranges of it, and what
    broke off goes on at the next range; the delivery is of two moments then. One snapshot, read at once, where absent"""
    chunk_key_rows: int = Field(default=500_000, ge=1)
    """rows of a range"""


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
    archive: str | None = None
    """folder on the same server, absolute or below ``directory``, to which a file is moved once it is published"""
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
    archive: str | None = None
    """folder, absolute or below ``directory``, to which a file is moved once it is published"""
    format: Format = Format()
    """the form of the files"""


_HTTP_PATH = r"^(/|(/[^/\\?#\s]+|[^/\\:?#\s]+)(/[^/\\?#\s]+)*/?)$"

#: names of what may stand in a connection only
_SECRET = re.compile("passw|pwd|secret", re.IGNORECASE)


class Paging(Model):
    style: Literal["none", "page", "offset", "cursor", "link"] = "page"
    """none: one answer; page: page numbers; offset: row numbers; cursor: the answer names the next; link: the answer
    gives the next page's URL"""
    parameter: str = "page"
    """parameter that carries page number, offset or cursor; in a body a dotted path"""
    place: Literal["query", "body"] | None = None
    """where the parameters of paging are sent; the body where method is post, else the query"""
    first: int = 1
    """number of the first page"""
    size_parameter: str | None = "size"
    """parameter that carries the page size; null where there is none"""
    size: int = Field(default=500, ge=1)
    """rows asked for per page"""
    overlap: bool = True
    """style offset: a page begins with the last row of the page before, so that rows inserted or deleted meanwhile show"""
    next: str | None = None
    """dotted path of the next cursor (style cursor), or of the next page's URL (style link; the Link header where absent)"""
    max_pages: int = Field(default=100_000, ge=1)
    """more pages than this are taken for an endless loop"""


class Signature(Model):
    """A request that proves by a keyed hash who sends it; the secret is the connection's password (F-47)."""

    algorithm: Literal["hmac-sha256", "hmac-sm3"] = "hmac-sha256"
    """the keyed hash"""
    parts: list[Literal["method", "path", "key", "timestamp", "nonce", "query", "escaped_query", "body"]] = Field(
        default=["key", "timestamp", "nonce", "query"], min_length=1
    )
    """what is signed, in this order; query: name=value sorted by name and joined by &, escaped_query: percent-encoded"""
    separator: Annotated[str, StringConstraints(strip_whitespace=False)] = "\n"
    """what stands between the parts"""
    encoding: Literal["hex", "base64"] = "hex"
    """how the hash is written"""
    place: Literal["header", "query"] = "header"
    """where the four values below are sent"""
    key: str = "X-App-Key"
    """header or parameter of the app key, which is the connection's login"""
    timestamp: str = "X-Timestamp"
    """header or parameter of the time of the request"""
    timestamp_unit: Literal["seconds", "milliseconds"] = "seconds"
    """unit of the timestamp, since 1970"""
    nonce: str = "X-Nonce"
    """header or parameter of a number that is used once"""
    signature: str = "X-Signature"
    """header or parameter of the signature"""


class TokenRequest(Model):
    """How a token is asked for: before the first question of a run, and again when the interface refuses it."""

    path: Annotated[str, StringConstraints(pattern=_HTTP_PATH)]
    """path below the connection's host that gives the token"""
    method: Literal["get", "post"] = "post"
    """get sends ``values`` in the query, post in the body"""
    form: Literal["json", "form"] = "json"
    """how a body is written: as JSON, or as a form (OAuth 2.0)"""
    values: dict[str, str] = {"username": "{login}", "password": "{password}"}
    """what is sent; {login} and {password} are replaced by the connection's"""
    basic: bool = False
    """send login and password as basic authentication"""
    found: str = "data.token"
    """dotted path of the token in the answer"""
    expired: list[str] = []
    """business codes of the interface that mean that the token is no longer valid, beside 401 and 403"""

    @model_validator(mode="after")
    def _demand_no_secrets(self) -> TokenRequest:
        for name, text in self.values.items():
            rest = text.replace("{login}", "").replace("{password}", "")
            if "{" in rest or "}" in rest:
                raise ValueError(f"values.{name} is {text!r}; only {{login}} and {{password}} are replaced")
            if _SECRET.search(name) and rest == text:
                raise ValueError(f"values.{name} holds a secret; write {{password}} and put it into the connection")
        return self


class HttpSource(Model):
    kind: Literal["http"]
    """http: an interface that answers JSON"""
    connection: str
    """connection id; its host, port, login and password are used"""
    path: Annotated[str, StringConstraints(pattern=_HTTP_PATH)]
    """path below the connection's host"""
    method: Literal["get", "post"] = "get"
    """post sends ``body`` as JSON"""
    parameters: dict[str, str] = {}
    """fixed query parameters; {window_start} and {window_end} are replaced by ISO timestamps, {window_start:%Y-%m-%d %H:%M:%S}
    by one of that strftime format (in the resource's time_zone, in UTC where it ends in Z), {window_start:milliseconds} and
    {window_start:seconds} by numbers since 1970"""
    body: dict[str, JsonValue] = {}
    """JSON object to send (method post); the same words are replaced in its texts"""
    encoding: Literal["auto", "utf-8", "gb18030"] = "auto"
    """of the answers; auto: UTF-8 strict, then GB18030 strict"""
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
    """header that carries the token: the connection's password, or what ``token`` gives"""
    token_prefix: Annotated[str, StringConstraints(strip_whitespace=False)] = ""
    """what stands before the token, for instance ``"Bearer "``"""
    token: TokenRequest | None = None
    """where the token of ``token_header`` is asked for; without it, it is the connection's password"""
    signature: Signature | None = None
    """signed requests; without it and token_header, a login is sent as basic authentication"""
    max_per_minute: float | None = Field(default=None, gt=0)
    """requests per minute that the department allows"""
    max_page_mb: int = Field(default=16, ge=1)
    """a larger answer is refused; in memory it takes up to thirty times as much"""
    max_mb: int = Field(default=4096, ge=1)
    """answers that are larger together refuse the delivery"""

    @model_validator(mode="after")
    def _demand_sense(self) -> HttpSource:
        if self.method == "get" and (self.body or self.paging.place == "body"):
            raise ValueError("a body needs method: post")
        if self.signature and self.token_header:
            raise ValueError("give signature or token_header, not both: there is one password")
        if self.token and not self.token_header:
            raise ValueError("token needs token_header: the header that carries the token, such as Authorization")
        return self


Source = Annotated[DatabaseSource | RemoteFilesSource | FilesSource | HttpSource, Field(discriminator="kind")]
