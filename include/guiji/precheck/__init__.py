"""A department's check of a file before it delivers it: the verdict that the pipeline would give, nothing published.

The file runs through the same source, standardising, rules and judge as a delivery, in a temporary folder that is
removed. What is shown is Chinese, masked, and names lines; the exit code is the pipeline's.

``verdict``   the check itself, as one record
``text``      the verdict for a terminal
``page``      as an HTML page, to read or to print
``sheet``     as a workbook, a line per finding, to mend by
"""

from __future__ import annotations

import errno
from pathlib import Path

from guiji.errors import UsageError
from guiji.masking import scrub
from guiji.precheck.verdict import Verdict, judge_file
from guiji.settings import Settings

__all__ = ["Verdict", "check_file", "judge_file", "write_verdict"]


def check_file(settings: Settings, resource_id: str, file: Path, out: Path | None = None) -> int:
    """Prints the verdict on ``file``, and writes it to ``out`` where given; returns 0 when the file would be published,
    1 when it would be held, refused, or not taken under its name."""
    from guiji.precheck.text import print_verdict

    _demand_file(file)
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
        raise UsageError(f"检查结果不能写入“{out}”（{_say_error(exc)}）。没有入库任何数据；请换一个 --out。") from exc
    finally:
        temporary.unlink(missing_ok=True)


def _demand_file(file: Path) -> None:
    """Raises UsageError, in the words of the clerk who gave the file."""
    if not file.exists():
        raise UsageError(f"没有找到文件“{scrub(str(file))}”。没有检查任何内容；请核对路径和文件名。")
    if not file.is_file():
        raise UsageError(f"“{scrub(str(file))}”不是文件。没有检查任何内容；请一次检查一个文件。")
    try:
        with file.open("rb") as f:
            f.read(1)
    except OSError as exc:
        raise UsageError(
            f"文件“{scrub(str(file))}”不能读取（{_say_error(exc)}）。没有检查任何内容；请关闭正在使用它的程序，或核对权限。"
        ) from exc


def _say_error(error: OSError) -> str:
    words = {
        errno.ENOENT: "文件夹不存在",
        errno.EACCES: "没有权限",
        errno.EPERM: "没有权限",
        errno.ENOSPC: "磁盘已满",
        errno.EROFS: "只读",
    }
    return words.get(error.errno or 0, f"错误 {error.errno}")


def _check_form(out: Path) -> str:
    form = out.suffix.lower()
    if form not in (".xlsx", ".html"):
        raise UsageError(f"--out“{out.name}”：结果文件名须以 .xlsx 或 .html 结尾。没有检查任何内容；请改名后重试。")
    return form
