"""How we speak TLS with a department's server: its certificate is verified, always.

``extra.ca_pem`` or ``extra.ca_file`` of a connection pins the authority that signed it; then no other is trusted, not
even the system's. ``extra.client_cert`` and ``extra.client_key`` are files with our own certificate, where asked for.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from guiji.errors import SourceRefused

if TYPE_CHECKING:
    from guiji.connections import Connection

_FORBIDDEN = {"verify": False, "verify_ssl": False, "check_hostname": False, "insecure": True}


def make_tls_context(connection: Connection) -> ssl.SSLContext:
    """A context that verifies certificate and host name. Raises SourceRefused for a connection that asks for less."""
    for flag, meaning in _FORBIDDEN.items():
        given = str(connection.extra.get(flag, not meaning)).lower() in ("true", "1", "yes")
        if given is meaning:
            raise SourceRefused(
                f"Connection {connection.conn_id} sets {flag}, which lets anybody pose as the server. Nothing was read; "
                "remove it and give the certificate of the server's authority as extra.ca_pem or extra.ca_file.",
                connection=connection.conn_id,
            )
    try:
        context = ssl.create_default_context(
            cafile=connection.extra.get("ca_file") or None, cadata=connection.extra.get("ca_pem") or None
        )
        if certificate := connection.extra.get("client_cert"):
            context.load_cert_chain(certificate, connection.extra.get("client_key") or None)
    except (OSError, ValueError) as exc:
        raise SourceRefused(
            f"Connection {connection.conn_id}: its certificate files can't be read ({type(exc).__name__}). Nothing was "
            "read; mend extra.ca_pem, ca_file, client_cert or client_key.",
            connection=connection.conn_id,
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def find_certificate_error(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """The certificate error at the bottom of ``error``, where there is one."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def refuse_certificate(connection: Connection, error: ssl.SSLCertVerificationError) -> SourceRefused:
    """What to raise for a server whose certificate does not hold."""
    return SourceRefused(
        f"Connection {connection.conn_id}: the certificate of {connection.host} is not trusted ({error.verify_message}). "
        "Nothing was sent or read; ask the server's owner, and pin its authority with extra.ca_pem or extra.ca_file.",
        connection=connection.conn_id,
    )
