"""A workbook under way: formats, and sheets with a header that stays. Texts are written as texts, never live (F-68)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from guiji.cells import clean_cell, height_of
from guiji.report import words

Column = tuple[str, int, str]  # title, width, kind: text | number | share | score


class Writer:
    """A workbook under way with its formats; owns nothing but the book it was given."""

    def __init__(self, book: Any) -> None:
        self.book = book
        font = {"font_name": "微软雅黑", "font_size": 10, "valign": "top"}
        box = {**font, "border": 1, "border_color": "#D9DEE5"}
        add = book.add_format
        self.title = add({"font_name": "微软雅黑", "font_size": 18, "bold": True, "font_color": "#B3261E"})
        self.note = add({**font, "font_color": "#667085"})
        self.header = add({**box, "bold": True, "bg_color": "#0F3D68", "font_color": "#FFFFFF", "text_wrap": True})
        self.text = add({**box, "text_wrap": True})
        self.number = add({**box, "num_format": "#,##0"})
        self.share = add({**box, "num_format": "0.00%", "bold": True})
        self.score = add({**box, "num_format": "0.00", "bold": True})
        self.none = add({**box, "font_color": "#98A2B3", "align": "right"})

    def page(self, name: str, columns: Sequence[Column], rows: Sequence[Sequence[Any]], note: str = "") -> Any:
        """A sheet with a header that stays, filters and widths; returns it for charts."""
        page = self.book.add_worksheet(name)
        page.write_string(0, 0, note or name, self.note)
        for i, (title, width, _) in enumerate(columns):
            page.set_column(i, i, width)
            page.write_string(1, i, title, self.header)
        for n, row in enumerate(rows, 2):
            texts = [(str(v), float(w)) for v, (_, w, kind) in zip(row, columns, strict=True) if kind == "text" and v]
            page.set_row(n, height_of(texts))
            for i, (value, (_, _, kind)) in enumerate(zip(row, columns, strict=True)):
                self.write(page, n, i, value, kind)
        page.freeze_panes(2, 0)
        page.autofilter(1, 0, max(2, len(rows) + 1), len(columns) - 1)
        page.set_landscape()
        page.set_paper(9)
        page.fit_to_pages(1, 0)
        page.repeat_rows(1)
        return page

    def write(self, page: Any, row: int, column: int, value: Any, kind: str) -> None:
        if kind == "share":
            if value["b"]:
                page.write_number(row, column, value["a"] / value["b"], self.share)
            else:
                page.write_string(row, column, words.say_figure(value), self.none)
        elif kind == "score" and value is not None:
            page.write_number(row, column, value / 100, self.score)
        elif kind == "number" and value is not None:
            page.write_number(row, column, value, self.number)
        else:
            text = "—" if value is None else str(value)
            page.write_string(row, column, clean_cell(text), self.text)
