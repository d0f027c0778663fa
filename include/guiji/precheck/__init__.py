"""A department's check of a file before it delivers it: the verdict that the pipeline would give, nothing published.

The file runs through the same source, standardising, rules and judge as a delivery, in a temporary folder that is
removed. What is shown is Chinese, masked, and names lines; the exit code is the pipeline's.

``verdict``   the check itself, as one record
``text``      the verdict for a terminal
``page``      as an HTML page, to read or to print
``sheet``     as a workbook, a line per finding, to mend by
"""

from __future__ import annotations

from pathlib import Path

from guiji.errors import UsageError
from guiji.precheck.verdict import Verdict, judge_file
from guiji.settings import Settings

__all__ = ["Verdict", "check_file", "judge_file", "write_verdict"]


def check_file(settings: Settings, resource_id: str, file: Path, out: Path | None = None) -> int:
    """Prints the verdict on ``file``, and writes it to ``out`` where given; returns 0 when the file would be published,
    1 when it would be held or refused."""
    from guiji.precheck.text import print_verdict

    if out is not None:
        _check_form(out)
    verdict = judge_file(settings, resource_id, file)
    print_verdict(verdict)
    if out is not None:
        write_verdict(verdict, out)
        print(f"检查结果已写入 {out}")
    return verdict.exit_code


def write_verdict(verdict: Verdict, out: Path) -> None:
    """Writes the verdict as a workbook or a page, by the file's ending, by rename. Raises UsageError."""
    import os

    form = _check_form(out)
    if form == ".xlsx":
        from guiji.precheck.sheet import write_workbook

        content = write_workbook(verdict)
    else:
        from guiji.precheck.page import render_page

        content = render_page(verdict).encode()
    temporary = out.with_name(f".{out.name}.tmp")
    try:
        # values are masked, but what a department did wrong is its own business
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as f:
            f.write(content)
        os.replace(temporary, out)
    except OSError as exc:
        raise UsageError(f"{out} can't be written: {exc.strerror}. Nothing was published; give another --out.") from exc
    finally:
        temporary.unlink(missing_ok=True)


def _check_form(out: Path) -> str:
    form = out.suffix.lower()
    if form not in (".xlsx", ".html"):
        raise UsageError(f"--out {out.name!r}: write a name that ends in .xlsx or .html. Nothing was checked.")
    return form
