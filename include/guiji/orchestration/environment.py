"""The environment of every Airflow process: what ``airflow.cfg`` can't hold, because it differs per installation.

``airflow.cfg`` stands in the repository and holds no absolute path and no secret. This module adds both. What
the engineer sets himself (``AIRFLOW__SECTION__KEY``) always wins, so that a production installation points at
its own metadata database, executor and auth manager without touching a file.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from guiji.settings import ROOT, Settings

USER = "admin"
_GUIJI_NAMES = frozenset(
    f"GUIJI_{name}" for name in ("HOME", "CATALOG", "STAGING", "WAREHOUSE", "KEY", "FAILPOINT", "NOW", "REAL_DATA")
)
PASSWORDS_FILE = "simple_auth_manager_passwords.json"


@dataclass(frozen=True)
class Secrets:
    """Made once per ``GUIJI_HOME`` and kept there, readable by the owner only."""

    fernet_key: str
    jwt_secret: str
    api_secret: str
    password: str


def load_secrets(home: Path) -> Secrets:
    """The installation's secrets; made at first use. Two processes that come first together get the same ones."""
    path = home / "airflow" / "secrets.json"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        from cryptography.fernet import Fernet

        fresh = {
            "fernet_key": Fernet.generate_key().decode(),
            "jwt_secret": secrets.token_urlsafe(64),
            "api_secret": secrets.token_urlsafe(64),
            "password": secrets.token_urlsafe(9),
        }
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        _write_private(temporary, json.dumps(fresh))
        try:
            os.link(temporary, path)  # fails when somebody else was first: then his secrets count
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return Secrets(**json.loads(path.read_text(encoding="utf-8")))


def airflow_environment(
    settings: Settings, *, database_url: str, port: int, extra_env: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The whole environment of an Airflow process of this installation.

    ``database_url`` is the metadata database as libpq understands it (``postgresql://…``).
    """
    home = settings.home / "airflow"
    logs = settings.home / "logs" / "airflow"
    for directory in (home, logs):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    known = load_secrets(settings.home)
    _write_private(home / PASSWORDS_FILE, json.dumps({USER: known.password}))
    sqlalchemy_url = database_url.replace("postgresql://", "postgresql+psycopg://", 1)
    base_url = f"http://127.0.0.1:{port}"
    ours = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__FERNET_KEY": known.fernet_key,
        "AIRFLOW__CORE__PARALLELISM": str(2 * (os.cpu_count() or 1)),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / PASSWORDS_FILE),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{base_url}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": sqlalchemy_url,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": sqlalchemy_url,
        "AIRFLOW__API__BASE_URL": base_url,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__SECRET_KEY": known.api_secret,
        "AIRFLOW__API_AUTH__JWT_SECRET": known.jwt_secret,
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(logs),
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(logs / "dag_processor"),
        # Airflow's processes fork: what they import must not have started threads, and must not call home
        "OPENBLAS_NUM_THREADS": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "SCARF_ANALYTICS": "false",
    }
    inherited = {name: value for name, value in os.environ.items() if name not in _GUIJI_NAMES}
    env = {**ours, **inherited, **_guiji_environment(settings), **(extra_env or {})}
    env["AIRFLOW_HOME"] = str(home)
    env["AIRFLOW_CONFIG"] = str(ROOT / "airflow.cfg")
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # without bytecode every task start pays seconds of compiling
    return env


def free_port() -> int:
    """A TCP port of this machine that nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def _guiji_environment(settings: Settings) -> dict[str, str]:
    values = {
        "GUIJI_HOME": str(settings.home),
        "GUIJI_CATALOG": str(settings.catalog),
        "GUIJI_STAGING": settings.staging,
        "GUIJI_WAREHOUSE": settings.warehouse,
        "GUIJI_KEY": settings.key,
        "GUIJI_FAILPOINT": settings.failpoint,
        "GUIJI_NOW": settings.fixed_now.isoformat() if settings.fixed_now else None,
        "GUIJI_REAL_DATA": str(settings.real_data) if settings.real_data else None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _write_private(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as f:
        f.write(text)
