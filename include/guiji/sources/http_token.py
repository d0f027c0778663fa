"""A token that is asked for with the connection's login, as many platforms demand it (OAuth 2.0, RFC 6749 §4.4, among them)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from guiji.sources.formats.json import find_path

if TYPE_CHECKING:
    import httpx

    from guiji.catalog.models import HttpSource, TokenRequest
    from guiji.connections import Connection


def write_token_request(
    client: httpx.Client, spec: TokenRequest, connection: Connection, extensions: Mapping[str, Any]
) -> httpx.Request:
    """The question for a token; login and password stand where ``values`` name them, or in a basic header."""
    import httpx

    secrets = {"{login}": connection.login or "", "{password}": connection.password or ""}
    values = {name: _fill(text, secrets) for name, text in spec.values.items()}
    headers: dict[str, str] = {}
    if spec.basic:
        pair = httpx.BasicAuth(secrets["{login}"], secrets["{password}"])
        headers |= next(pair.auth_flow(httpx.Request("GET", client.base_url))).headers
    is_post, is_form = spec.method == "post", spec.form == "form"
    return client.build_request(
        spec.method.upper(),
        client.base_url.join("/" + spec.path.lstrip("/")),
        params=None if is_post else values,
        data=values if is_post and is_form else None,
        json=values if is_post and not is_form else None,
        headers=headers,
        extensions=dict(extensions),
    )


def describe_missing_token(document: Any, source: HttpSource) -> str:
    """What the answer says in place of a token, by the paths that the interface's other answers use."""
    said = [find_path(document, path) for path in (source.code, source.message) if path]
    words = " ".join(str(x)[:200] for x in said if isinstance(x, (str, int)))
    return f" ({words})" if words else ""


def _fill(text: str, secrets: Mapping[str, str]) -> str:
    # in one pass: a password that holds {login} is sent as it is
    return re.sub("|".join(map(re.escape, secrets)), lambda m: secrets[m[0]], text)
