"""The text of an SQL script as a stream: whole statements are skipped, literals are read, nothing is executed.

A string ends where the database that wrote it says so: MySQL escapes with a backslash, PostgreSQL does so only in
``E'…'`` or when ``standard_conforming_strings`` is off. Bytes that can't be decoded stay as lone surrogates, so that a
binary literal can be given back exactly and a damaged text is known. No token is kept that is longer than
``LONGEST_TOKEN``.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

from guiji.errors import DeliveryRefused
from guiji.sources.formats.encoding import half_a_file

BLOCK = 1 << 20
LONGEST_TOKEN = 32 << 20
#: of a statement that must be judged, without its texts
LONGEST_OUTLINE = 8 << 20

_NAME = r'(?:"(?:[^"]|"")+"|`(?:[^`]|``)+`|[^\W\d][\w$]*)'
#: a table's name with up to two qualifiers
NAME = rf"{_NAME}(?:\s*\.\s*{_NAME}){{0,2}}"
#: a list of columns behind a table's name; a parenthesis or comma in a quoted name is part of the name
COLUMNS = r'\((?P<columns>(?:[^()"`]++|"(?:[^"]++|"")*+"|`(?:[^`]++|``)*+`)*+)\)'
_PART = re.compile(_NAME)
_LISTED = re.compile(rf"\s*+(?P<name>{_NAME})\s*+(?P<end>,|\Z)")
_DOLLAR = re.compile(r"(?<![\w$])\$(?:[^\W\d]\w*)?\$")
_BLANK = re.compile(r"(?:\s++|\*/)+")
# a string that closes where the text read so far ends may go on: its quote may be the first of a doubled one
_SINGLE = r"'(?:[^'\\]++|\\.|'')*+'(?!\Z)"
_SINGLE_PLAIN = r"'(?:[^']++|'')*+'(?!\Z)"
_DOUBLE = r'"(?:[^"\\]++|\\.|"")*+"(?!\Z)'
_DOUBLE_PLAIN = r'"(?:[^"]++|"")*+"(?!\Z)'
_COMMENT_END = re.compile(r"\*/")
_COMMENT_EDGE = re.compile(r"/\*|\*/")


@dataclass(frozen=True)
class Grammar:
    """How literals are written: a dialect in its present mode."""

    dialect: str  # postgresql or mysql
    backslash: bool  # a backslash escapes in '…'
    double_is_text: bool  # "…" is a text and no name
    zone: tzinfo | None = None  # in which MySQL wrote its TIMESTAMPs, where the script says it

    @property
    def is_mysql(self) -> bool:
        return self.dialect == "mysql"


def split_name(text: str, mysql: bool) -> tuple[str, ...]:
    """The parts of a name as the database knows them: PostgreSQL folds what is not quoted."""
    parts = []
    for part in _PART.findall(text):
        if part[0] in '"`':
            parts.append(part[1:-1].replace(part[0] * 2, part[0]))
        else:
            parts.append(part if mysql else part.lower())
    return tuple(parts)


def split_columns(said: str, mysql: bool) -> list[str]:
    """The names in what ``COLUMNS`` matched; empty where it is no list of plain names (``home.street``, a comment)."""
    names: list[str] = []
    at = 0
    while m := _LISTED.match(said, at):
        names += split_name(m["name"], mysql)
        if not m["end"]:
            return names
        at = m.end()
    return []


def _compile_skip(grammar: Grammar, stops: str) -> re.Pattern[str]:
    """Matches all that can be passed without a second look: no comment, no open string, none of ``stops``."""
    single = _SINGLE if grammar.backslash else _SINGLE_PLAIN
    double = _DOUBLE if grammar.double_is_text and grammar.backslash else _DOUBLE_PLAIN
    stops = re.escape(stops)
    if grammar.is_mysql:
        tokens = rf"[^'\"`/#\-{stops}]++|{single}|{double}|`(?:[^`]++|``)*+`(?!\Z)"
    else:
        tokens = rf"[^'\"/\-$eE{stops}]++|[eE](?!'|\Z)|[eE]{_SINGLE}|{single}|{double}"
    return re.compile(rf"(?:{tokens})*+", re.DOTALL)


def _compile_text(grammar: Grammar) -> re.Pattern[str]:
    """Matches a text, or a quoted name (group ``name``)."""
    single = _SINGLE if grammar.backslash else _SINGLE_PLAIN
    if grammar.is_mysql:
        double = _DOUBLE if grammar.double_is_text and grammar.backslash else _DOUBLE_PLAIN
        name = "`(?:[^`]++|``)*+`" + ("" if grammar.double_is_text else rf"|{double}")
        texts = rf"{single}|{double}" if grammar.double_is_text else single
    else:
        texts, name = rf"(?<![^\W\d])[eE]{_SINGLE}|{single}", _DOUBLE_PLAIN
    return re.compile(f"(?P<name>{name})|{texts}".replace(r"(?!\Z)", ""), re.DOTALL)


class SqlText:
    """A script being read: ``text[at:]`` is what lies ahead, ``line`` the number of the line there."""

    def __init__(self, path: Path, encoding: str, grammar: Grammar, what: str) -> None:
        self._file = path.open("rb")
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
        self._size = BLOCK
        self._marked = 0  # up to here in ``text`` the lines are counted
        self.what = what
        self.text = ""
        self.at = 0
        self.line = 1
        self.ended = False
        self.delimiter = ";"
        self.use(grammar)
        self.more()
        self.text = self.text.removeprefix("\ufeff")

    def close(self) -> None:
        self._file.close()

    def use(self, grammar: Grammar, delimiter: str | None = None) -> None:
        """From here on literals are written so, and statements end so."""
        self.grammar = grammar
        self.delimiter = delimiter or self.delimiter
        self._skip = _compile_skip(grammar, self.delimiter)
        self._skip_in_row = _compile_skip(grammar, "()")
        self._texts = _compile_text(grammar)

    def more(self) -> bool:
        """Reads on; False at the end. What lies behind ``at`` is let go. Raises DeliveryRefused for a token too long."""
        if self.ended:
            return False
        ahead = len(self.text) - self.at
        if ahead > LONGEST_TOKEN:
            raise DeliveryRefused(
                f"{self.what}：第 {self.find_line()} 行起的一个语句或值超过 {LONGEST_TOKEN >> 20} MB。现有数据继续有效；"
                "请用数据库自带的备份工具按默认设置重新导出。",
                rule_id="delivery.too_large",
            )
        self.find_line()
        # twice as much each time that the same place needs more: a long token is then looked through a few times only
        data = self._file.read(max(BLOCK, ahead))
        self.ended = not data
        self.text = self.text[self.at :] + self._decoder.decode(data, final=self.ended)
        self.at = self._marked = 0
        return not self.ended

    def find_line(self) -> int:
        """The number of the line at ``at``."""
        self.line += self.text.count("\n", self._marked, self.at)
        self._marked = self.at
        return self.line

    def need(self, length: int) -> None:
        """Reads on until that many characters lie ahead, or all there are."""
        while len(self.text) - self.at < length and self.more():
            pass

    def skip_blank(self) -> bool:
        """Goes to the next statement or token; False at the end. Comments are passed, ``/*! … */`` is entered."""
        while True:
            if m := _BLANK.match(self.text, self.at):
                self.at = m.end()
            self.need(16)
            ahead = self.text[self.at : self.at + 12]
            if not ahead:
                if self.ended:
                    return False
            elif ahead[0].isspace() or ahead.startswith("*/"):
                continue
            elif self._is_comment(ahead):
                self.skip_line()
            elif ahead.startswith("/*"):
                self._skip_comment(ahead)
            else:
                return True

    def _is_comment(self, ahead: str) -> bool:
        """To the end of the line. MySQL wants a blank behind the dashes."""
        if ahead.startswith("--"):
            return not self.grammar.is_mysql or not ahead[2:3].strip()
        return ahead[0] == "#" and self.grammar.is_mysql

    def _skip_comment(self, ahead: str) -> None:
        entered = re.match(r"/\*M?!(\d*)", ahead) if self.grammar.is_mysql else None
        if entered and not (entered[1] and int(entered[1]) >= 999_999):
            self.at += entered.end()
            return
        self.at += 2
        depth = 1
        while depth:
            self._find(_COMMENT_END if self.grammar.is_mysql else _COMMENT_EDGE)
            depth += 1 if self.text[self.at - 2 : self.at] == "/*" else -1

    def _find(self, pattern: re.Pattern[str]) -> None:
        """Goes behind the next match. Raises DeliveryRefused when there is none."""
        while (m := pattern.search(self.text, self.at)) is None:
            self.at = max(self.at, len(self.text) - 1)
            if not self.more():
                raise half_a_file(self.what)
        self.at = m.end()

    def _skip_to(self, mark: str, *, may_end: bool = False) -> None:
        while (found := self.text.find(mark, self.at)) < 0:
            self.at = max(self.at, len(self.text) - len(mark) + 1)
            if not self.more():
                if not may_end:
                    raise half_a_file(self.what)
                self.at = len(self.text)
                return
        self.at = found + len(mark)

    def skip_line(self) -> None:
        """Goes to the next line."""
        self._skip_to("\n", may_end=True)

    def skip_statement(self) -> None:
        """Goes behind the statement's end. Raises DeliveryRefused when it never ends."""
        while not self._pass_some():
            pass

    def read_statement(self) -> str:
        """As ``skip_statement``; the statement's outline: a text is ``''``, a comment a blank, names stay as they are."""
        line = self.find_line()
        kept: list[str] = []
        while not self._pass_some(kept):
            if len(kept) > 1000:
                kept = ["".join(kept)]
                if len(kept[0]) > LONGEST_OUTLINE:
                    raise DeliveryRefused(
                        f"{self.what}：第 {line} 行起的一个语句超过 {LONGEST_OUTLINE >> 20} MB。现有数据继续有效；"
                        "请用数据库自带的备份工具按默认设置重新导出。",
                        rule_id="delivery.too_large",
                    )
        return "".join(kept).replace("*/", " ")

    def _pass_some(self, kept: list[str] | None = None) -> bool:
        """Passes what can be passed at once, its outline into ``kept``; True when that was the end of the statement."""
        m = self._skip.match(self.text, self.at)
        assert m is not None
        if kept is not None:
            kept.append(self._texts.sub(lambda t: t["name"] or "''", m.group()))
        self.at = m.end()
        if len(self.text) - self.at < 16 and self.more():
            return False
        ahead = self.text[self.at : self.at + 16]
        passed = " "
        if not ahead or ahead[0] in "'\"`":  # a string that doesn't close in what was read
            if not self.more():
                raise half_a_file(self.what)
            passed = ""
        elif ahead.startswith(self.delimiter):
            self.at += len(self.delimiter)
            return True
        elif self._is_comment(ahead):
            self.skip_line()
        elif ahead.startswith("/*"):
            self._skip_comment(ahead)
        elif ahead[0] == "$" and not self.grammar.is_mysql and (tag := _DOLLAR.match(self.text, self.at)):
            self.at = tag.end()
            self._skip_to(tag.group())
            passed = "''"
        else:
            self.at += 1
            passed = ahead[0]
        if kept is not None:
            kept.append(passed)
        return False

    def find_row_end(self) -> int | None:
        """Where the parenthesis that opens at ``at`` closes (behind it); None when more text is needed to tell."""
        at = self.at
        depth = 0
        while True:
            m = self._skip_in_row.match(self.text, at)
            assert m is not None
            at = m.end()
            if at >= len(self.text) or self.text[at] in "'\"`":
                return None
            if self.text[at] in "$-/#" and (end := self._find_end(at)) != at + 1:
                if end is None:
                    return None
                at = end
                continue
            depth += (self.text[at] == "(") - (self.text[at] == ")")
            at += 1
            if depth == 0:
                return at

    def _find_end(self, at: int) -> int | None:
        """Behind the comment or dollar-quoted text that begins at ``at``, else behind that character; None as above."""
        ahead = self.text[at : at + 12]
        if self._is_comment(ahead):
            mark, begin = "\n", at
        elif ahead.startswith("/*"):
            mark, begin = "*/", at + 2
        elif ahead[0] == "$" and not self.grammar.is_mysql and (tag := _DOLLAR.match(self.text, at)):
            mark, begin = tag.group(), tag.end()
        else:
            return at + 1
        found = self.text.find(mark, begin)
        return None if found < 0 else found + len(mark)
