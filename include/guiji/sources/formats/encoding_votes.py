"""UTF-8 or GB18030: what single lines or cells of a file say of it, and what they say together (F-37).

Short words of GB18030 are often valid UTF-8 as well (女 is ``Ů``), and signs of UTF-8 are often Chinese in GB18030 (m² is m虏).
So only what can be one of the two decides. What can be both is Chinese where it would be letters of Cyrillic, Greek or the
like; where it would be signs and accents of Western languages (U+0080 to U+00FF) it says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from guiji.sources.formats.mojibake import is_accidental_utf8, is_valid

Kind = Literal["utf8", "gb18030", "chinese", "signs", "neither"]


def judge_text(text: bytes, final: bool = True) -> Kind:
    """What a text beyond ASCII can be: one of the encodings only, ``chinese`` or ``signs`` where it can be both, or
    ``neither``. Where it is not ``final``, half a character at its end says nothing."""
    if is_valid(text, "utf-8", final):
        if not is_accidental_utf8(text):
            return "utf8"
        return "signs" if all(c <= "\u00ff" for c in text.decode("utf-8", "ignore")) else "chinese"
    return "gb18030" if is_valid(text, "gb18030", final) else "neither"


@dataclass
class Votes:
    """How many texts can be what."""

    utf8: int = 0
    gb18030: int = 0
    chinese: int = 0
    signs: int = 0
    neither: int = 0
    #: those that GB18030 decodes, whatever comes of them
    decoded: int = 0

    def add(self, text: bytes, final: bool = True) -> None:
        """Counts a text beyond ASCII."""
        kind = judge_text(text, final)
        setattr(self, kind, getattr(self, kind) + 1)
        self.decoded += kind in ("gb18030", "chinese", "signs") or is_valid(text, "gb18030", final)

    @property
    def seen(self) -> int:
        return self.utf8 + self.gb18030 + self.chinese + self.signs + self.neither

    def allow(self, encoding: str) -> bool:
        """Whether a file that is said to be in the encoding may be: half of it, at least, and no more like the other."""
        if encoding == "gb18030":
            return self.decoded * 2 >= self.seen
        return (self.seen - self.gb18030 - self.neither) * 2 >= self.seen and self.decide() != "gb18030"

    def decide(self) -> str | None:
        """``utf-8``, ``gb18030``, ``?`` where what can be both outweighs what tells, None where it is neither."""
        chinese = self.gb18030 + self.chinese
        telling = self.utf8 + chinese + self.neither
        if self.utf8 * 2 > telling:
            return "utf-8"
        if self.signs > telling:
            return "?"
        if self.decoded * 10 >= self.seen * 9:
            # a cut character of UTF-8 may look like GB18030: one line among many words that can be both tells nothing
            enough = 1 if self.chinese < 10 else max(3, self.chinese // 50)
            return "gb18030" if self.gb18030 >= enough and self.utf8 * 5 <= telling else "?"
        return None
