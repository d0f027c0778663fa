"""What is sensitive at rest: AES-256-GCM under ``GUIJI_KEY``, or under a key made in ``GUIJI_HOME/key`` (0600).

Losing the key loses the rejected rows kept in the warehouse and the archives of tables with personal fields.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from guiji.errors import GuijiError, UsageError
from guiji.settings import Settings

_VERSION = b"\x01"


def seal(settings: Settings, plain: bytes) -> bytes:
    """``plain`` encrypted and authenticated: version byte, 12 bytes of nonce, ciphertext with tag."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(12)
    return _VERSION + nonce + AESGCM(_subkey(_key(settings), b"guiji seal")).encrypt(nonce, plain, _VERSION)


def unseal(settings: Settings, sealed: bytes) -> bytes:
    """The inverse of ``seal``. Raises GuijiError for another key or changed bytes."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    sealed = bytes(sealed)
    try:
        if sealed[:1] != _VERSION:
            raise InvalidTag
        return AESGCM(_subkey(_key(settings), b"guiji seal")).decrypt(sealed[1:13], sealed[13:], _VERSION)
    except (InvalidTag, ValueError) as exc:
        raise GuijiError(
            "A sealed value can't be opened: it was sealed with another key, or its bytes were changed. "
            "It stays as it is; set GUIJI_KEY (or GUIJI_HOME/key) to the key it was sealed with."
        ) from exc


def hmac_key(settings: Settings, text: str) -> str:
    """A keyed hash (64 hex digits) that recognises ``text`` without telling it."""
    return hmac.new(_subkey(_key(settings), b"guiji hmac"), text.encode(), hashlib.sha256).hexdigest()


def make_hasher(settings: Settings) -> Callable[[str], str]:
    """``hmac_key`` for many texts: the key is looked up once."""
    start = hmac.new(_subkey(_key(settings), b"guiji hmac"), digestmod=hashlib.sha256)

    def hash_text(text: str) -> str:
        mine = start.copy()
        mine.update(text.encode())
        return mine.hexdigest()

    return hash_text


def key_path(settings: Settings) -> Path:
    return settings.home / "key"


def _key(settings: Settings) -> bytes:
    return _parse_key(settings.key, "GUIJI_KEY") if settings.key else _file_key(key_path(settings))


@lru_cache(maxsize=8)
def _parse_key(text: str, name: str) -> bytes:
    try:
        key = base64.b64decode(text.strip() + "=" * (-len(text.strip()) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise UsageError(
            f"{name} must be 32 random bytes in urlsafe base64 (44 characters). Nothing was done; "
            "keep the key that the warehouse was written with, or make a first one with "
            "python3 -c 'import os,base64;print(base64.urlsafe_b64encode(os.urandom(32)).decode())'."
        )
    return key


@lru_cache(maxsize=8)
def _file_key(path: Path) -> bytes:
    if not path.exists():
        _make_key(path)
    return _parse_key(path.read_text(encoding="ascii", errors="replace"), str(path))


def _make_key(path: Path) -> None:
    """Makes the key file whole and once, however many processes and threads try."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(prefix="key.", suffix=".tmp", dir=path.parent)  # readable by the owner only
    temporary = Path(name)
    with os.fdopen(fd, "wb") as f:
        f.write(base64.urlsafe_b64encode(os.urandom(32)) + b"\n")
        f.flush()
        os.fsync(f.fileno())
    with contextlib.suppress(FileExistsError):
        os.link(temporary, path)
    temporary.unlink()


@lru_cache(maxsize=16)
def _subkey(key: bytes, purpose: bytes) -> bytes:
    return hmac.new(key, purpose, hashlib.sha256).digest()
