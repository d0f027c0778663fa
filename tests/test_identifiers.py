"""Identifier verdicts against a plain-Python oracle, in both directions: what is wrong is found, what isn't is not."""

from __future__ import annotations

from datetime import date

import identifier_oracle as oracle
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guiji.codes import load_divisions
from guiji.identifier_reasons import REASONS
from guiji.identifiers import (
    Checked,
    check_citizen_id,
    check_credit_code,
    check_division,
    check_registration_number,
    citizen_check_digit,
    credit_check_digit,
    explain,
    organisation_check_digit,
    registration_check_digit,
)

TODAY = date(2026, 11, 22)
OK, WRONG, SUSPICIOUS, UNJUDGED = range(4)
DIVISIONS = sorted(load_divisions())


def rows_of(checked: Checked) -> list[oracle.Answer]:
    columns = (checked.normalised, checked.verdict, checked.reason)
    return list(zip(*(c.to_pylist() for c in columns), strict=True))


def judge(text: str | None, birth: date | None = None, sex: str | None = None, today: date = TODAY) -> oracle.Answer:
    answer = check_citizen_id(
        pa.array([text], pa.string()), pa.array([birth], pa.date32()), pa.array([sex], pa.string()), today=today
    )
    return rows_of(answer)[0]


def citizen(division: str, birth: str, order: str = "002") -> str:
    body = division + birth + order
    return body + oracle.citizen_check(body)


def credit(head: str, division: str = "150602", body: str = "05738292") -> str:
    text = head + division + body
    text += oracle.organisation_check(body)
    return text + oracle.credit_check(text)


# --- any text at all ---------------------------------------------------------------------------------

days = st.dates(date(1860, 1, 1), date(2030, 12, 31))
divisions = st.one_of(
    st.sampled_from(DIVISIONS),
    st.sampled_from(
        ["152701", "150602", "150603", "152721", "810000", "820000", "830000", "710000", "999999", "100000"]
    ),
    st.from_regex(r"[0-9]{6}", fullmatch=True),
)


@st.composite
def sound_citizens(draw: st.DrawFn) -> str:
    text = citizen(draw(divisions), draw(days).strftime("%Y%m%d"), f"{draw(st.integers(0, 999)):03d}")
    return draw(st.sampled_from([text, text[:6] + text[8:17]]))


@st.composite
def sound_credit_codes(draw: st.DrawFn) -> str:
    head = draw(
        st.text(oracle.CREDIT_ALPHABET, min_size=2, max_size=2) | st.sampled_from(["91", "11", "A1", "N2", "Y1"])
    )
    return credit(head, draw(divisions), draw(st.text(oracle.CREDIT_ALPHABET, min_size=8, max_size=8)))


@st.composite
def sound_registrations(draw: st.DrawFn) -> str:
    body = draw(divisions) + draw(st.from_regex(r"[0-9]{8}", fullmatch=True))
    return body + oracle.registration_check(body)


@st.composite
def damaged(draw: st.DrawFn, sound: st.SearchStrategy[str]) -> str | None:
    """A sound text, or one that somebody had his hands on."""
    text = draw(sound)
    match draw(st.integers(0, 9)):
        case 0:
            return None
        case 1:
            return draw(st.text(max_size=20))
        case 2:
            at = draw(st.integers(0, len(text) - 1))
            return text[:at] + draw(st.sampled_from("0123456789XYabcxOI-é中")) + text[at + 1 :]
        case 3:
            return text[: draw(st.integers(0, len(text)))]
        case 4:
            return "".join(chr(ord(c) + 0xFEE0) for c in text)
        case 5:
            return draw(st.sampled_from([" ", "\u3000", "\ufeff", "\u200b", "\t", "\xa0"])) + text.lower() + "\r\n"
        case 6:
            at = draw(st.integers(0, len(text) - 2))
            return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        case _:
            return text


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.tuples(damaged(sound_citizens()), st.none() | days, st.sampled_from([None, "0", "1", "2", "9", "男", "女"])),
        max_size=12,
    ),
    st.dates(date(2020, 1, 1), date(2028, 12, 31)),
)
def test_citizen_ids_are_judged_as_the_oracle_judges_them(
    rows: list[tuple[str | None, date | None, str | None]], today: date
) -> None:
    values = pa.array([r[0] for r in rows], pa.string())
    birth = pa.array([r[1] for r in rows], pa.date32())
    sex = pa.array([r[2] for r in rows], pa.string())
    checked = check_citizen_id(values, birth, sex, today=today)
    assert rows_of(checked) == [oracle.judge_citizen(v, b, s, today) for v, b, s in rows]


@settings(max_examples=300, deadline=None)
@given(st.lists(damaged(sound_credit_codes()), max_size=12))
@example(["000000000000000000", "", "91110000600037341L"])
def test_credit_codes_are_judged_as_the_oracle_judges_them(values: list[str | None]) -> None:
    assert rows_of(check_credit_code(pa.array(values, pa.string()))) == [oracle.judge_credit(v) for v in values]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(damaged(sound_registrations()), st.none() | sound_credit_codes()), max_size=12))
def test_registration_numbers_are_judged_as_the_oracle_judges_them(rows: list[tuple[str | None, str | None]]) -> None:
    values, codes = (pa.array([r[i] for r in rows], pa.string()) for i in (0, 1))
    answers = rows_of(check_registration_number(values, codes))
    assert answers == [oracle.judge_registration(v, c) for v, c in rows]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=24))
def test_any_text_gets_an_answer(text: str) -> None:
    values = pa.array([text, None, text])
    for checked in (
        check_citizen_id(values, today=TODAY),
        check_credit_code(values),
        check_registration_number(values, values),
        check_division(values, today=TODAY),
    ):
        first, empty, again = rows_of(checked)
        assert first == again
        assert first[1] in (OK, WRONG, SUSPICIOUS, UNJUDGED)
        assert empty == (None, None, None)


# --- nobody is accused wrongly -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        citizen("152701", "19800101"),  # 东胜市, abolished in 2001
        citizen("152722", "20000229"),
        citizen("150602", "20010701"),
        citizen("150602", "19800101"),  # given later, under the new code
        citizen("150603", "19990930"),
        citizen("150603", "20170101"),
        citizen("110103", "19491001"),  # 崇文区, abolished in 2010
        citizen("810000", "19900101"),
        citizen("820000", "20150101"),
        citizen("830000", "19640229"),
        citizen("320602", "20200601"),  # 崇川区 changed its code in 2020
        citizen("929156", "19880808", "001"),  # a foreigner's permanent residence
        citizen("150602", "18970101"),
    ],
)
def test_a_legitimate_number_is_in_order(text: str) -> None:
    assert judge(text) == (text, OK, None)


@pytest.mark.parametrize(
    "head", ["A1", "A9", "N1", "N2", "N3", "N9", "Y1", "11", "12", "13", "19", "51", "52", "53", "59"]
)
def test_a_credit_code_of_any_authority_is_in_order(head: str) -> None:
    assert rows_of(check_credit_code(pa.array([credit(head)]))) == [(credit(head), OK, None)]


def test_published_credit_codes_are_in_order() -> None:
    published = [
        "91350100M000100Y43",  # the standard's own example
        "91110000600037341L",  # python-stdnum's
        "9144030071526726XG",  # well-known companies and universities, as they print them on their own pages
        "914403001922038216",
        "91330100799655058B",
        "91110000802100433B",
        "91110000100017643K",
        "911100001000044477",
        "91440300708461136T",
        "91310000132260250X",
        "12100000400002259P",
        "12100000400000624D",
    ]
    assert rows_of(check_credit_code(pa.array(published))) == [(p, OK, None) for p in published]


def test_codes_of_national_registrars_and_abolished_divisions_are_in_order() -> None:
    codes = [credit("91", "100000"), credit("11", "152701"), credit("91", "150172"), credit("A1", "0A0000")]
    assert [r[1:] for r in rows_of(check_credit_code(pa.array(codes)))] == [(OK, None)] * 4


def test_a_development_zone_the_list_lacks_is_suspicious_at_most() -> None:
    assert rows_of(check_credit_code(pa.array([credit("91", "150699")])))[0][1:] == (SUSPICIOUS, "division_unknown")


def test_15_digit_numbers_are_upgraded() -> None:
    values = pa.array(["152701800101002", "110105491231002", "１５２７０１８００１０１００２ "])
    assert rows_of(check_citizen_id(values, today=TODAY)) == [
        (citizen("152701", "19800101"), OK, "upgraded_15"),
        ("11010519491231002X", OK, "upgraded_15"),
        (citizen("152701", "19800101"), OK, "upgraded_15"),
    ]


def test_numbers_of_centenarians_and_former_permits_cannot_be_judged() -> None:
    values = pa.array(["152701960101997", "USA110000000001"])
    assert rows_of(check_citizen_id(values, today=TODAY)) == [
        ("152701960101997", UNJUDGED, "century_unknown"),
        ("USA110000000001", UNJUDGED, "foreign_former"),
    ]


def test_a_division_without_dates_cannot_be_judged() -> None:
    undated = next(d.code for d in load_divisions().values() if d.status == "abolished" and not d.valid_to)
    assert judge(citizen(undated, "19800101"))[1:] == (UNJUDGED, "division_undated")
    assert judge(citizen(undated, "20100101"))[1:] == (UNJUDGED, "division_undated")


def test_what_the_third_party_validator_gets_wrong_is_right_here() -> None:
    from stdnum.cn import ric, uscc

    legitimate = [citizen("810000", "19900101"), citizen("830000", "19900101"), "152701800101002"]
    codes = [credit("A1"), credit("N2"), credit("Y1")]
    future = citizen("150602", "20300101")
    assert [ric.is_valid(v) for v in [*legitimate, future]] == [False, False, False, True]
    assert [uscc.is_valid(c) for c in codes] == [False, False, False]
    assert check_citizen_id(pa.array([*legitimate, future]), today=TODAY).verdict.to_pylist() == [OK, OK, OK, WRONG]
    assert check_credit_code(pa.array(codes)).verdict.to_pylist() == [OK, OK, OK]


# --- what is wrong is found --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "verdict", "reason"),
    [
        ("110105194912310021", WRONG, "check_digit"),
        (citizen("110105", "19490231"), WRONG, "impossible_date"),
        (citizen("110105", "19000229"), WRONG, "impossible_date"),
        (citizen("110105", "00000101"), WRONG, "impossible_date"),
        (citizen("110105", "20261123"), WRONG, "future_birth"),
        ("1101051949123100", WRONG, "length"),
        ("", WRONG, "length"),
        ("11010519491231002Y", WRONG, "characters"),
        ("11010519491X31002X", WRONG, "characters"),
        ("1101051949123l002X", WRONG, "characters"),
        ("1.10105E+17", WRONG, "length"),
        ("身份证号码", WRONG, "characters"),
        ("152701990231002", WRONG, "impossible_date"),
        (citizen("150602", "18951122"), SUSPICIOUS, "age"),
        (citizen("159999", "19900101"), SUSPICIOUS, "division_unknown"),
        (citizen("100000", "19900101"), SUSPICIOUS, "division_unknown"),
        (citizen("152721", "19640101"), SUSPICIOUS, "division_abolished_before_1984"),
        (citizen("152701", "20050101"), SUSPICIOUS, "division_abolished_before_birth"),
        (citizen("150603", "19991001"), SUSPICIOUS, "division_began_after_birth"),
    ],
)
def test_a_faulty_number_is_found(text: str, verdict: int, reason: str) -> None:
    assert judge(text) == (text.upper(), verdict, reason)


def test_born_today_is_no_future_birth() -> None:
    assert judge(citizen("150602", "20261122"))[1:] == (OK, None)


def test_columns_that_disagree_make_a_row_suspicious() -> None:
    text = citizen("150602", "19800101", "003")
    assert judge(text, date(1980, 1, 1), "1")[1:] == (OK, None)
    assert judge(text, date(1980, 1, 2), "1")[1:] == (SUSPICIOUS, "birth_disagrees")
    assert judge(text, date(1980, 1, 1), "女")[1:] == (SUSPICIOUS, "sex_disagrees")
    assert judge(text, None, "9")[1:] == (OK, None)


@pytest.mark.parametrize(
    "births",
    [
        pa.array(["1980-01-01", "1980-01-02", None, "n/a"]),
        pa.array(["19800101", "19800102", None, ""]),
        pa.array([date(1980, 1, 1), date(1980, 1, 2), None, None], pa.date32()),
        pa.array([date(1980, 1, 1), date(1980, 1, 2), None, None], pa.date64()),
        pa.array([315504000, 315590400, None, None], pa.timestamp("s", "Asia/Shanghai")),
        pa.array([315532800, 315619200, None, None], pa.timestamp("s")),
    ],
    ids=["iso", "compact", "date32", "date64", "timestamp in Shanghai", "timestamp"],
)
def test_the_birth_column_may_come_in_any_form(births: pa.Array) -> None:
    text = citizen("150602", "19800101")
    checked = check_citizen_id(pa.array([text] * 4), births, today=TODAY)
    assert checked.reason.to_pylist() == [None, "birth_disagrees", None, None]


def test_every_single_wrong_digit_and_swap_is_found() -> None:
    sound = citizen("150602", "19800101", "123")
    wrong = [sound[:i] + d + sound[i + 1 :] for i in range(18) for d in "0123456789" if d != sound[i]]
    wrong += [sound[:i] + sound[i + 1] + sound[i] + sound[i + 2 :] for i in range(17) if sound[i] != sound[i + 1]]
    assert set(check_citizen_id(pa.array(wrong), today=TODAY).verdict.to_pylist()) == {WRONG}


def test_every_single_wrong_character_of_a_credit_code_is_found() -> None:
    sound = credit("91")
    wrong = [sound[:i] + c + sound[i + 1 :] for i in range(18) for c in oracle.CREDIT_ALPHABET if c != sound[i]]
    assert set(check_credit_code(pa.array(wrong)).verdict.to_pylist()) == {WRONG}


@pytest.mark.parametrize("letter", "IOZSV")
def test_letters_that_the_credit_code_does_not_use_are_wrong(letter: str) -> None:
    text = credit("91")[:9] + letter + credit("91")[10:]
    assert rows_of(check_credit_code(pa.array([text]))) == [(text, WRONG, "characters")]


def test_a_registration_number_agrees_with_the_credit_code() -> None:
    number = "15060200000001"
    number += oracle.registration_check(number)
    values = pa.array([number, number, number, "1506020000017", "企独蒙总字第000123号", credit("91")])
    codes = pa.array([credit("91"), credit("91", "150603"), None, None, None, None])
    assert [r[1:] for r in rows_of(check_registration_number(values, codes))] == [
        (OK, None),
        (SUSPICIOUS, "division_disagrees"),
        (OK, None),
        (UNJUDGED, "former_number"),
        (UNJUDGED, "former_number"),
        (SUSPICIOUS, "credit_code_instead"),
    ]


def test_divisions() -> None:
    values = pa.array(
        ["150602", "150602001", "150602001001", "152701", "150699", "990000", "1506", "15060A", "１５０６０２", None]
    )
    assert [r[1:] for r in rows_of(check_division(values, today=TODAY))] == [
        (OK, None),
        (OK, None),
        (OK, None),
        (SUSPICIOUS, "division_abolished"),
        (SUSPICIOUS, "division_unknown"),
        (WRONG, "province_unknown"),
        (WRONG, "length"),
        (WRONG, "characters"),
        (OK, "mended_width"),
        (None, None),
    ]


# --- forms -------------------------------------------------------------------------------------------


def test_mends_are_told_apart_and_kept_when_the_row_is_wrong() -> None:
    sound = "11010519491231002X"
    values = [
        sound,
        f" {sound}",
        sound.lower(),
        "１" + sound[1:],
        sound[:3] + "\u200b" + sound[3:],
        "110105194912310021 ",
    ]
    checked = check_citizen_id(pa.array(values), today=TODAY)
    assert checked.normalised.to_pylist() == [sound, sound, sound, sound, sound, "110105194912310021"]
    assert checked.reason.to_pylist() == [
        None,
        "mended_space",
        "mended_case",
        "mended_width",
        "mended_space",
        "check_digit",
    ]
    assert checked.mend.to_pylist() == [
        None,
        "mended_space",
        "mended_case",
        "mended_width",
        "mended_space",
        "mended_space",
    ]
    assert checked.count() == {"check_digit": 1, "mended_case": 1, "mended_space": 2, "mended_width": 1}


@pytest.mark.parametrize("size", [0, 1, 2, 32767, 32768, 32769])
def test_blocks_have_no_seams(size: int) -> None:
    pattern = [citizen("150602", "19800101"), "x", None, citizen("152701", "20050101"), "152701800101002"]
    values = pa.array([pattern[i % 5] for i in range(size)], pa.string())
    expected = [oracle.judge_citizen(v, None, None, TODAY) for v in pattern]
    assert rows_of(check_citizen_id(values, today=TODAY)) == [expected[i % 5] for i in range(size)]


def test_arrow_forms_of_the_same_column_agree() -> None:
    values = pa.array(["x", citizen("150602", "19800101"), None, "152701800101002", "y"])
    expected = rows_of(check_citizen_id(values, today=TODAY))
    for form in (
        pa.chunked_array([values.slice(0, 2), values.slice(2)]),
        values.cast(pa.large_string()),
        values.cast(pa.string_view()),
        values.dictionary_encode(),
    ):
        assert rows_of(check_citizen_id(form, today=TODAY)) == expected
    assert rows_of(check_citizen_id(values.slice(1, 3), today=TODAY)) == expected[1:4]


def test_check_digits_one_at_a_time() -> None:
    assert citizen_check_digit("11010519491231002") == "X"
    assert credit_check_digit("91350100M000100Y4") == "3"
    assert organisation_check_digit("M000100Y") == "4"
    assert registration_check_digit("11010800000001") == oracle.registration_check("11010800000001")


def test_every_reason_is_explained_in_chinese() -> None:
    for reason in REASONS[1:]:
        for identifier in ("citizen_id", "credit_code", "registration_number", "division"):
            what, mend, standard = explain(reason.code, identifier)  # type: ignore[arg-type]
            assert what.endswith("。")
            assert mend.endswith("。")
            assert standard
            assert "{" not in what + mend
