"""The rules for identifiers once more, in plain Python, one value at a time: what the vectorised checks must say.

Written from the standards and the domain's rules, not from ``guiji.identifiers``; only the division table is shared.
Answers are (normalised, verdict, reason).
"""

from __future__ import annotations

import unicodedata
from datetime import date

from guiji.codes import load_divisions

OK, WRONG, SUSPICIOUS, UNJUDGED = range(4)
Answer = tuple[str | None, int | None, str | None]

CREDIT_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
INVISIBLE = {chr(c) for c in (0x85, 0xA0, 0xAD, 0x1680, 0x3000, 0xFEFF, *range(0x21), 0x7F)} | {
    chr(c) for c in (*range(0x2000, 0x2010), *range(0x2028, 0x2030), *range(0x205F, 0x2070))
}


def mend(text: str) -> tuple[str, str | None]:
    """What is left when spaces, case and width are put right, and the mend of highest rank."""
    out, mends = "", set()
    for c in text:
        if c in INVISIBLE:
            mends.add("mended_space")
            continue
        if 0xFF01 <= ord(c) <= 0xFF5E:
            mends.add("mended_width")
            c = unicodedata.normalize("NFKC", c)
        if "a" <= c <= "z":
            mends.add("mended_case")
            c = c.upper()
        out += c
    return out, next((m for m in ("mended_width", "mended_case", "mended_space") if m in mends), None)


def citizen_check(body: str) -> str:
    return "10X98765432"[sum(int(c) * 2 ** (17 - i) for i, c in enumerate(body)) % 11]


def is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def judge_citizen(value: str | None, birth: date | None, sex: str | None, today: date) -> Answer:
    if value is None:
        return None, None, None
    text, mended = mend(value)
    if not text.isascii():
        return text, WRONG, "characters"
    upgraded = False
    number = text
    if len(text) == 15:
        if text[:3].isalpha() and is_digits(text[3:]):
            return text, UNJUDGED, "foreign_former"
        if not is_digits(text):
            return text, WRONG, "characters"
        if text[12:14] == "99" and text[14] >= "6":
            return text, UNJUDGED, "century_unknown"
        upgraded = True
        number = text[:6] + "19" + text[6:]
        number += citizen_check(number)
    elif len(text) != 18:
        return text, WRONG, "length"
    elif not (is_digits(text[:17]) and (is_digits(text[17]) or text[17] == "X")):
        return text, WRONG, "characters"
    verdict, reason = judge_18(number, birth, sex, today)
    if verdict == WRONG:
        return text, verdict, reason
    return (number if upgraded else text), verdict, reason or ("upgraded_15" if upgraded else mended)


def judge_18(number: str, birth: date | None, sex: str | None, today: date) -> tuple[int, str | None]:
    foreign = number[0] == "9"
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        born = None
    if born is None and not foreign:
        return WRONG, "impossible_date"
    if citizen_check(number[:17]) != number[17]:
        return WRONG, "check_digit"
    if born is None or (born > today and foreign):
        return UNJUDGED, "foreign_layout"
    if born > today:
        return WRONG, "future_birth"
    verdict, reason = judge_division(number[:6], born)
    if verdict == SUSPICIOUS:
        return verdict, reason
    if birth is not None and birth != born:
        return SUSPICIOUS, "birth_disagrees"
    male = int(number[16]) % 2 == 1
    if not foreign and ((sex in ("1", "男") and not male) or (sex in ("2", "女") and male)):
        return SUSPICIOUS, "sex_disagrees"
    if today.year - born.year - ((today.month, today.day) < (born.month, born.day)) > 130:
        return SUSPICIOUS, "age"
    return verdict, reason


def judge_division(code: str, born: date) -> tuple[int, str | None]:
    if code[0] == "9" or code in ("810000", "820000", "830000"):
        return OK, None
    division = None if code == "100000" else load_divisions().get(code)
    if division is None:
        if code[:2] in ("71", "81", "82", "83"):
            return UNJUDGED, "division_undated"
        return SUSPICIOUS, "division_unknown"
    current = division.status == "current"
    if born < date(1999, 10, 1):
        if current or division.valid_to >= "1984":
            return OK, None
        return (SUSPICIOUS, "division_abolished_before_1984") if division.valid_to else (UNJUDGED, "division_undated")
    if not division.valid_from or not (current or division.valid_to):
        return UNJUDGED, "division_undated"
    if not current and born.isoformat() > division.valid_to:
        return SUSPICIOUS, "division_abolished_before_birth"
    if born.isoformat() < division.valid_from:
        return SUSPICIOUS, "division_began_after_birth"
    return OK, None


def credit_check(body: str) -> str:
    total = sum(CREDIT_ALPHABET.index(c) * pow(3, i, 31) for i, c in enumerate(body))
    return CREDIT_ALPHABET[-total % 31]


def organisation_check(body: str) -> str:
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    c9 = 11 - sum(alphabet.index(c) * w for c, w in zip(body, (3, 7, 9, 10, 5, 8, 4, 2), strict=True)) % 11
    return {10: "X", 11: "0"}.get(c9, str(c9))


def judge_credit(value: str | None) -> Answer:
    if value is None:
        return None, None, None
    text, mended = mend(value)
    if len(text) != 18 and text.isascii():
        return text, WRONG, "length"
    if any(c not in CREDIT_ALPHABET for c in text) or len(text) != 18:
        return text, WRONG, "characters"
    if text[0] != "A" and not is_digits(text[2:8]):
        return text, WRONG, "characters"
    if len(set(text)) == 1:
        return text, WRONG, "placeholder"
    if credit_check(text[:17]) != text[17]:
        return text, WRONG, "check_digit"
    if organisation_check(text[8:16]) != text[16]:
        return text, WRONG, "body_check_digit"
    types = {"1": "1239", "5": "1239", "9": "123", "Y": "1"} | dict.fromkeys("234678AN", CREDIT_ALPHABET)
    if text[0] not in types:
        return text, SUSPICIOUS, "authority_unknown"
    if text[1] not in types[text[0]]:
        return text, SUSPICIOUS, "type_unknown"
    if text[0] != "A" and text[2:8] not in load_divisions():
        return text, SUSPICIOUS, "division_unknown"
    return text, OK, mended


def registration_check(body: str) -> str:
    p = 10
    for c in body:
        s = (p + int(c)) % 10 or 10
        p = s * 2 % 11
    return next(str(c) for c in range(10) if (p + c) % 10 == 1)


def judge_registration(value: str | None, credit_code: str | None) -> Answer:
    if value is None:
        return None, None, None
    text, mended = mend(value)
    if not text.isascii():
        return text, UNJUDGED, "former_number"
    if len(text) == 13 and is_digits(text):
        return text, UNJUDGED, "former_number"
    if len(text) != 15:
        return text, WRONG, "length"
    if not is_digits(text):
        return text, WRONG, "characters"
    if len(set(text)) == 1:
        return text, WRONG, "placeholder"
    if registration_check(text[:14]) != text[14]:
        return text, WRONG, "check_digit"
    if (
        credit_code is not None
        and len(credit_code) == 18
        and is_digits(credit_code[2:8])
        and credit_code[2:8] != text[:6]
    ):
        return text, SUSPICIOUS, "division_disagrees"
    if text[:6] not in load_divisions():
        return text, SUSPICIOUS, "division_unknown"
    return text, OK, mended
