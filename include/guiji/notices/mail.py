"""One mail: written (HTML, plain text, workbook) and handed to the mail server of ``smtp_default``.

The connection's extra follows Airflow's SMTP provider: ``from_email``, ``timeout``, ``disable_ssl``, ``disable_tls``
(TLS from the start unless ``disable_ssl``; then STARTTLS unless ``disable_tls``), and ``ca_file`` for a house CA.
"""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.city import City
from guiji.connections import Connection, get_connection
from guiji.errors import UsageError
from guiji.masking import scrub
from guiji.notices.fix_sheet import write_fix_sheet
from guiji.settings import Settings

if TYPE_CHECKING:
    import jinja2

    from guiji.notices.model import Digest

EMAIL = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9-]{2,}"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
MAX_BROKEN = 2
"""so many mails in a row that break off mean that the channel is down"""


class ChannelDown(Exception):
    """The mail server can't be reached or doesn't take mail from us; says nothing about a recipient."""


@dataclass(frozen=True)
class Outcome:
    """What the server said about one recipient; ``permanent`` is a 5xx answer."""

    accepted: bool
    permanent: bool = False
    error: str | None = None


def is_email(text: str) -> bool:
    return EMAIL.fullmatch(text) is not None


def clean_header(text: str) -> str:
    """``text`` on one line: no CR, LF, control or direction-changing characters, at most 200 characters."""
    return _CONTROL.sub(" ", text).strip()[:200]


class Postbox:
    """An open session with the mail server; opened anew after a mail that broke off."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._smtp: smtplib.SMTP | None = None
        self._broken = 0
        self.sender = str(connection.extra.get("from_email") or connection.login or "")
        if not is_email(self.sender):
            raise UsageError(
                "Connection smtp_default has no valid from_email in its extra. Nothing was sent and nothing is lost; "
                'add {"from_email": "…"} to its extra.'
            )
        self.domain = self.sender.partition("@")[2]

    def centre_address(self, city: City) -> str:
        return city.centre_email if is_email(city.centre_email) else self.sender

    def open(self) -> None:
        """Connects, secures and logs in. Raises ChannelDown."""
        extra = self._connection.extra
        host, timeout = self._connection.host or "localhost", float(extra.get("timeout") or 30)
        try:
            if not _is_on(extra.get("disable_ssl")):
                context = _tls_context(extra.get("ca_file"))
                self._smtp = smtplib.SMTP_SSL(host, self._connection.port or 465, timeout=timeout, context=context)
            else:
                self._smtp = smtplib.SMTP(host, self._connection.port or 25, timeout=timeout)
                if not _is_on(extra.get("disable_tls")):
                    self._smtp.starttls(context=_tls_context(extra.get("ca_file")))
            if self._connection.login and self._connection.password:
                self._smtp.login(self._connection.login, self._connection.password)
        except (OSError, smtplib.SMTPException) as error:
            self.close()
            raise ChannelDown(_say_error("mail server of smtp_default", error)) from error

    def close(self) -> None:
        if self._smtp is not None:
            try:
                self._smtp.quit()
            except (OSError, smtplib.SMTPException):
                self._smtp.close()
            self._smtp = None

    def send(self, message: bytes, recipients: Sequence[str]) -> dict[str, Outcome]:
        """What became of each recipient. Raises ChannelDown when the server is gone or takes nothing from us."""
        if self._smtp is None:
            self.open()
        assert self._smtp is not None
        try:
            refused = self._smtp.sendmail(self.sender, list(recipients), message)
            self._broken = 0
        except smtplib.SMTPRecipientsRefused as error:
            refused = error.recipients
            self._broken = 0
        except smtplib.SMTPSenderRefused as error:
            self.close()
            raise ChannelDown(_say_error(f"sender {self.sender}", error)) from error
        except smtplib.SMTPDataError as error:
            self._broken = 0
            return {r: _refusal(error.smtp_code, error.smtp_error) for r in recipients}
        except (OSError, smtplib.SMTPException) as error:
            self._smtp.close()
            self._smtp = None
            self._broken += 1
            if self._broken >= MAX_BROKEN:
                raise ChannelDown(_say_error("mail server of smtp_default", error)) from error
            return {r: Outcome(False, error=_say_error("broke off", error)) for r in recipients}
        if any(code == 421 for code, _ in refused.values()):
            self.close()
        return {r: _refusal(*refused[r]) if r in refused else Outcome(True) for r in recipients}


def _is_on(value: object) -> bool:
    return value is True or str(value).lower() in ("1", "true", "yes")


def _tls_context(ca_file: object) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)


def _refusal(code: int, answer: bytes | str) -> Outcome:
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return Outcome(False, permanent=500 <= code < 600, error=clean_header(f"{code} {scrub(text)}"))


def _say_error(what: str, error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return clean_header(f"{what}: {_refusal(error.smtp_code, error.smtp_error).error}")
    return clean_header(f"{what}: {type(error).__name__}: {scrub(str(error))}")


@contextmanager
def open_postbox(settings: Settings) -> Iterator[Postbox]:
    """A session with the mail server. Raises ChannelDown when there is none, UsageError without a connection."""
    postbox = Postbox(get_connection(settings, "smtp_default"))
    postbox.open()
    try:
        yield postbox
    finally:
        postbox.close()


# --- the mail -----------------------------------------------------------------------------------------


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    from guiji.notices import words

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",), default=False, default_for_string=True),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        say_count=words.say_count, say_share=words.say_share, say_day=words.say_day, say_moment=words.say_moment
    )
    return environment


def render_html(digest: Digest, city: City) -> str:
    return _environment().get_template("digest.html.j2").render(d=digest, city=city)


def render_text(digest: Digest, city: City) -> str:
    text = _environment().get_template("digest.txt.j2").render(d=digest, city=city)
    return re.sub(r"\n{3,}", "\n\n", text)


def compose_mail(digest: Digest, city: City, postbox: Postbox, mail_id: str, recipients: Sequence[str]) -> bytes:
    """The whole mail as it goes to the server: plain text, HTML, and the workbook where there are rows to mend."""
    message = EmailMessage(policy=SMTP)
    message["Message-ID"] = mail_id
    message["Date"] = digest.composed_at
    message["Subject"] = clean_header(digest.subject)
    message["From"] = Address(clean_header(city.centre), addr_spec=postbox.sender)
    message["Reply-To"] = Address(clean_header(city.centre), addr_spec=postbox.centre_address(city))
    names = {c.email: c.name for c in digest.recipients}
    everyone = list(dict.fromkeys([*names, *recipients]))
    message["To"] = [Address(clean_header(names.get(a, city.centre)), addr_spec=a) for a in everyone]
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(render_text(digest, city), cte="base64")
    message.add_alternative(render_html(digest, city), subtype="html", cte="base64")
    if digest.has_fix_sheet:
        message.add_attachment(
            write_fix_sheet(digest, city),
            maintype="application",
            subtype="vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            filename=digest.fix_sheet_name,
        )
    return message.as_bytes()
