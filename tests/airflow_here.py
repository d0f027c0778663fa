"""Airflow inside a test process: its own home, our airflow.cfg, an SQLite that only the tests of the UI fill.

Must be imported before anything of Airflow is; Airflow reads its configuration at import. Only AIRFLOW_HOME and
AIRFLOW_CONFIG are set, which the launcher sets anew for the Airflow that it starts.
"""

from __future__ import annotations

import configparser
import os
import tempfile
from pathlib import Path

from guiji.settings import ROOT

HOME = Path(tempfile.mkdtemp(prefix="guiji-airflow-"))
_HERE = {
    ("core", "dags_folder"): str(ROOT / "dags"),
    ("core", "plugins_folder"): str(ROOT / "plugins"),
    ("core", "simple_auth_manager_users"): "admin:admin,viewer:viewer",
    ("core", "simple_auth_manager_passwords_file"): str(HOME / "passwords.json"),
    ("database", "sql_alchemy_conn"): f"sqlite:///{HOME}/airflow.db",
    ("api_auth", "jwt_secret"): "a secret of the tests, " + 64 * "x",
}


def _write_config() -> Path:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "airflow.cfg", encoding="utf-8")
    for (section, key), value in _HERE.items():
        if not parser.has_section(section):
            parser.add_section(section)
        parser[section][key] = value
    file = HOME / "airflow.cfg"
    with file.open("w", encoding="utf-8") as f:
        parser.write(f)
    return file


os.environ["AIRFLOW_HOME"] = str(HOME)
os.environ["AIRFLOW_CONFIG"] = str(_write_config())
