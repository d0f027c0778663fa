"""Signed requests: a keyed hash over declared parts proves who asks. The secret never leaves this module."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from guiji.catalog.models import Signature

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Unsigned:
    """What is to be sent; ``query`` unescaped, ``path`` without it."""

    method: str
    path: str
    query: Pairs
    body: bytes


def sign(
    spec: Signature, request: Unsigned, app_key: str, secret: str, epoch: float, nonce: str
) -> list[tuple[str, str]]:
    """The four names and values to send: app key, timestamp, nonce, signature.

    Where they travel in the query, key, timestamp and nonce are signed as part of it; the signature never is.
    """
    timestamp = str(int(epoch * 1000) if spec.timestamp_unit == "milliseconds" else int(epoch))
    said = [(spec.key, app_key), (spec.timestamp, timestamp), (spec.nonce, nonce)]
    query = sorted([*request.query, *(said if spec.place == "query" else ())])
    parts = {
        "method": request.method.upper(),
        "path": request.path,
        "key": app_key,
        "timestamp": timestamp,
        "nonce": nonce,
        "query": "&".join(f"{name}={value}" for name, value in query),
        "escaped_query": "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query),
    }
    pieces = [request.body if name == "body" else parts[name].encode() for name in spec.parts]
    digest = _hash(spec.algorithm, secret.encode(), spec.separator.encode().join(pieces))
    text = digest.hex() if spec.encoding == "hex" else base64.b64encode(digest).decode()
    return [*said, (spec.signature, text)]


def _hash(algorithm: str, secret: bytes, message: bytes) -> bytes:
    if algorithm == "hmac-sha256":
        return hmac.digest(secret, message, hashlib.sha256)
    from cryptography.hazmat.primitives.hashes import SM3
    from cryptography.hazmat.primitives.hmac import HMAC

    keyed = HMAC(secret, SM3())  # GB/T 32905; Python's own build may lack it
    keyed.update(message)
    return keyed.finalize()
