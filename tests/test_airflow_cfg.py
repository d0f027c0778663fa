"""airflow.cfg says why of every setting, and every setting is one that Airflow 3.3.2 knows and has by another value."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import airflow_here  # noqa: F401  before Airflow
import pytest
import yaml

from guiji.settings import ROOT

CFG = ROOT / "airflow.cfg"


def read_settings() -> list[tuple[str, str, str]]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(CFG, encoding="utf-8")
    return [(section, key, parser[section][key]) for section in parser.sections() for key in parser[section]]


@pytest.fixture(scope="module")
def known() -> dict[str, dict[str, dict[str, object]]]:
    import airflow

    text = (Path(airflow.__path__[0]) / "config_templates" / "config.yml").read_text(encoding="utf-8")
    return {section: body["options"] for section, body in yaml.safe_load(text).items()}


def test_there_are_settings() -> None:
    assert len(read_settings()) > 20


def test_every_setting_is_an_option_of_airflow(known: dict[str, dict[str, dict[str, object]]]) -> None:
    unknown = [f"[{section}] {key}" for section, key, _ in read_settings() if key not in known.get(section, {})]
    assert unknown == []


def test_every_setting_differs_from_the_default(known: dict[str, dict[str, dict[str, object]]]) -> None:
    same = [
        f"[{section}] {key} = {value}"
        for section, key, value in read_settings()
        if str(known[section][key].get("default")).lower() == value.lower()
    ]
    assert same == []


def test_no_setting_is_deprecated(known: dict[str, dict[str, dict[str, object]]]) -> None:
    from airflow.configuration import conf

    old_names = {(old[0], old[1]) for old in conf.deprecated_options.values()}
    deprecated = [
        f"[{section}] {key}"
        for section, key, _ in read_settings()
        if (section, key) in old_names or known[section][key].get("version_deprecated")
    ]
    assert deprecated == []


def test_every_setting_has_its_reason_above_it() -> None:
    lines = CFG.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("#")
    bare = []
    for number, line in enumerate(lines):
        if not re.match(r"^\w+ *=", line):
            continue
        above = next(text for text in reversed(lines[:number]) if not re.match(r"^\w+ *=", text))
        if not above.startswith("# ") or len(above) < 20:
            bare.append(line)
    assert bare == []


def test_it_holds_no_path_and_no_secret() -> None:
    values = [value for _, _, value in read_settings()]
    assert [v for v in values if v.startswith("/") or "://" in v] == []
    assert [key for _, key, _ in read_settings() if "secret" in key or "password" in key or "fernet" in key] == []
