"""Airflow inside a test process: its own home, our airflow.cfg, an SQLite that only the tests of the UI fill.

Must be imported before anything of Airflow is; Airflow reads its configuration at import.
"""

from __future__ import annotations

import os
import tempfile

from guiji.settings import ROOT

HOME = tempfile.mkdtemp(prefix="guiji-airflow-")
os.environ["AIRFLOW_HOME"] = HOME
os.environ["AIRFLOW_CONFIG"] = str(ROOT / "airflow.cfg")
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(ROOT / "dags")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(ROOT / "plugins")
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{HOME}/airflow.db"
os.environ["AIRFLOW__API_AUTH__JWT_SECRET"] = "a secret of the tests, " + 64 * "x"
os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"] = "admin:admin,viewer:viewer"
os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"] = f"{HOME}/passwords.json"
