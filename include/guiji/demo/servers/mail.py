"""A mail server that keeps what it gets (aiosmtpd)."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from guiji.connections import Connection
from guiji.demo.servers.transfer import running_loop


@dataclass
class MailFaults:
    """How the mail server misbehaves."""

    #: answer to every mail, for instance ``451 try again later`` or ``554 refused``
    refuse: str | None = None
    #: answer to these recipients only
    refuse_recipients: dict[str, str] = field(default_factory=dict)
    #: wait this long before the answer to a mail; it is kept nevertheless
    stall_seconds: float = 0.0
    #: keep the mail and cut the line before the answer: the sender can't know (F-65)
    cut_after_data: bool = False
    #: how many mails are spoilt; None means all
    times: int | None = None

    def clear(self) -> None:
        self.__dict__.update(MailFaults().__dict__)

    def spend(self) -> bool:
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


@dataclass(frozen=True)
class Mail:
    """One mail as it came."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage
    raw: bytes


@dataclass(frozen=True)
class MailServer(Connection):
    """The running server; ``messages`` grows with every mail it accepts."""

    messages: list[Mail] = field(default_factory=list)
    faults: MailFaults = field(default_factory=MailFaults)


class _Handler:
    def __init__(self, messages: list[Mail], faults: MailFaults, folder: Path | None) -> None:
        self.messages, self.faults, self.folder = messages, faults, folder

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address in self.faults.refuse_recipients:
            return self.faults.refuse_recipients[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        spoilt = (
            self.faults.refuse is not None or self.faults.stall_seconds > 0 or self.faults.cut_after_data
        ) and self.faults.spend()
        if spoilt and self.faults.refuse is not None:
            return self.faults.refuse
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.messages.append(Mail(envelope.mail_from, tuple(envelope.rcpt_tos), message, envelope.content))
        if self.folder is not None:
            (self.folder / f"{len(self.messages):05d}.eml").write_bytes(envelope.content)
        if spoilt and self.faults.stall_seconds:
            await asyncio.sleep(self.faults.stall_seconds)
        if spoilt and self.faults.cut_after_data:
            server.transport.abort()
        return "250 OK"


@contextlib.contextmanager
def serve_smtp(
    *,
    conn_id: str = "smtp_default",
    user: str | None = None,
    password: str | None = None,
    folder: Path | None = None,
    port: int = 0,
) -> Iterator[MailServer]:
    """Accepts mail on the loopback, in clear; demands a login when ``user`` is given; copies mails into ``folder``."""
    messages: list[Mail] = []
    faults = MailFaults()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def check_login(server: Any, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
        right = isinstance(given, LoginPassword) and (given.login, given.password) == (
            (user or "").encode(),
            (password or "").encode(),
        )
        return AuthResult(success=right, handled=right)

    def make_protocol() -> SMTP:
        return SMTP(
            _Handler(messages, faults, folder),
            hostname="localhost",
            enable_SMTPUTF8=True,
            authenticator=check_login if user else None,
            auth_required=bool(user),
            auth_require_tls=False,
            data_size_limit=64 << 20,
        )

    with running_loop("smtp") as thread:

        async def listen() -> asyncio.Server:
            return await asyncio.get_running_loop().create_server(make_protocol, "127.0.0.1", port)

        server = thread.run(listen())
        try:
            yield MailServer(
                conn_id=conn_id,
                conn_type="smtp",
                host="127.0.0.1",
                port=server.sockets[0].getsockname()[1],
                login=user,
                password=password,
                extra={"disable_ssl": True, "disable_tls": True, "from_email": "guiji@demo.invalid"},
                messages=messages,
                faults=faults,
            )
        finally:
            thread.loop.call_soon_threadsafe(server.close)
