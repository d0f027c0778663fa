"""The synthetic city's people and units, made column by column from a seed.

Row ``i`` depends on the seed and ``i`` alone, so that any slice can be made by itself, in any order, in bounded
memory, and twice the same. Identifiers carry right check digits; nobody here exists. ``month`` counts deliveries
from 0: between two months some people move, marry, change their phone, and some leave.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]

#: the banners and districts of Ordos, with the code each had until 2001 (伊克昭盟), and its share of the people
DIVISIONS = (
    ("150602", "152701", "东胜区", 30),
    ("150603", "", "康巴什区", 6),
    ("150621", "152722", "达拉特旗", 18),
    ("150622", "152723", "准格尔旗", 16),
    ("150623", "152724", "鄂托克前旗", 5),
    ("150624", "152725", "鄂托克旗", 7),
    ("150625", "152726", "杭锦旗", 6),
    ("150626", "152727", "乌审旗", 7),
    ("150627", "152728", "伊金霍洛旗", 5),
)
SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧包云"
GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华建文辉玲斌宇浩凯健俊帆雪荣爱国庆燕萍鹏飞晓"
STREETS = (
    "民族东街",
    "鄂尔多斯大街",
    "伊煤路",
    "天骄路",
    "达拉特路",
    "锡尼镇街",
    "乌兰路",
    "滨河路",
    "文化路",
    "迎宾路",
)
TRADES = ("煤炭", "商贸", "物流", "建筑", "餐饮", "科技", "牧业", "化工", "运输", "文旅", "能源", "农牧")
BRANDS = "恒盛昌隆瑞丰鑫源宏达金泰华远博雅天骄鸿嘉亿利蒙原"
INDUSTRIES = ("0610", "5211", "5432", "4710", "6210", "6513", "0313", "2614", "5431", "7291", "4413", "0111")

_CITIZEN_WEIGHTS = np.array([7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2])
_CITIZEN_CHECK = np.frombuffer(b"10X98765432", dtype=np.uint8)
_UNIT_ALPHABET = np.frombuffer(b"0123456789ABCDEFGHJKLMNPQRTUWXY", dtype=np.uint8)
_UNIT_WEIGHTS = np.array([1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28])
_BODY_WEIGHTS = np.array([3, 7, 9, 10, 5, 8, 4, 2])


@dataclass(frozen=True)
class City:
    """How large the city is and which seed it grows from."""

    people: int
    seed: int = 1

    @property
    def units(self) -> int:
        """One unit to thirty people, and never so few that a single error would be a large share."""
        return max(400, self.people // 30)


def draw(city: City, stream: str, i: Ints) -> npt.NDArray[np.uint64]:
    """Uniform 64-bit numbers, one per row, that depend on seed, stream and row only (splitmix64)."""
    salt = np.uint64(
        int.from_bytes(stream.encode()[-8:].rjust(8, b"."), "big") ^ (city.seed * 0x9E3779B97F4A7C15 & (2**64 - 1))
    )
    with np.errstate(over="ignore"):
        z = (i.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + salt
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def share(city: City, stream: str, i: Ints, per_mille: float) -> npt.NDArray[np.bool_]:
    """True for about ``per_mille`` of a thousand rows."""
    return draw(city, stream, i) % np.uint64(1_000_000) < np.uint64(int(per_mille * 1000))


def pick(city: City, stream: str, i: Ints, choices: npt.ArrayLike) -> npt.NDArray[np.str_]:
    """One of ``choices`` per row."""
    array = np.asarray(choices)
    return array[(draw(city, stream, i) % np.uint64(len(array))).astype(np.int64)]


def citizen_ids(division: npt.NDArray[np.str_], birth: npt.NDArray[np.datetime64], order: Ints) -> npt.NDArray[np.str_]:
    """18-digit numbers with right check digits (GB 11643-1999)."""
    compact = np.char.replace(np.datetime_as_string(birth.astype("datetime64[D]")), "-", "")
    body = np.char.add(np.char.add(division.astype("U6"), compact), np.char.zfill(order.astype("U3"), 3)).astype("S17")
    digits = body.view(np.uint8).reshape(len(body), 17)
    check = _CITIZEN_CHECK[((digits - 48).astype(np.int64) @ _CITIZEN_WEIGHTS) % 11]
    return np.concatenate([digits, check[:, None]], axis=1).copy().view("S18").ravel().astype("U18")


def credit_codes(kind: str, division: npt.NDArray[np.str_], body: Ints) -> npt.NDArray[np.str_]:
    """18-character codes with right check characters (GB 32100-2015, body GB 11714-1997)."""
    n = len(body)
    digits = np.char.zfill(body.astype("U8"), 8).astype("S8").view(np.uint8).reshape(n, 8)
    remainder = 11 - ((digits - 48).astype(np.int64) @ _BODY_WEIGHTS) % 11
    body_check = np.where(remainder == 10, ord("X"), np.where(remainder == 11, ord("0"), remainder + 48)).astype(
        np.uint8
    )
    head = np.char.add(np.full(n, kind), division.astype("U6")).astype("S8").view(np.uint8).reshape(n, 8)
    code = np.concatenate([head, digits, body_check[:, None]], axis=1)
    values = np.searchsorted(_UNIT_ALPHABET, code)
    check = _UNIT_ALPHABET[(31 - (values @ _UNIT_WEIGHTS) % 31) % 31]
    return np.concatenate([code, check[:, None]], axis=1).copy().view("S18").ravel().astype("U18")


def registration_numbers(division: npt.NDArray[np.str_], sequence: Ints) -> npt.NDArray[np.str_]:
    """15-digit 注册号 with the mod 11,10 check digit (GS 15-2006)."""
    body = np.char.add(division.astype("U6"), np.char.zfill(sequence.astype("U8"), 8))
    digits = body.astype("S14").view(np.uint8).reshape(len(body), 14) - 48
    p = np.full(len(body), 10, dtype=np.int64)
    for column in range(14):
        s = (p + digits[:, column]) % 10
        p = np.where(s == 0, 10, s) * 2 % 11
    return np.char.add(body, ((11 - p) % 10).astype("U1"))


def make_persons(city: City, start: int, stop: int, month: int = 0) -> pa.Table:
    """People ``start`` to ``stop`` as they are in ``month``; ``_i`` is the person's number."""
    i = np.arange(start, stop, dtype=np.int64)
    shares = np.repeat(np.arange(len(DIVISIONS)), [d[3] for d in DIVISIONS])
    home = shares[(draw(city, "division", i) % np.uint64(len(shares))).astype(np.int64)]
    # a person's number is unique by construction: day of birth and order count up with i
    day = (i * 7919) % 31_000
    birth = np.datetime64("1941-01-01") + day.astype("timedelta64[D]")
    male = draw(city, "sex", i) % np.uint64(2) == 0
    sex_order = 2 + ((i // 31_000) * 2) % 996 + male
    today = np.array([d[0] for d in DIVISIONS])[home]
    former = np.array([d[1] or "152701" for d in DIVISIONS])[home]
    # until 2001 the numbers began with the league's code; 康巴什 has numbers of its own from 2016 on
    first_code = np.where(birth < np.datetime64("2001-04-01"), former, today)
    first_code = np.where((first_code == "150603") & (birth < np.datetime64("2017-01-01")), "150602", first_code)
    moved = np.zeros(len(i), dtype=np.int64)
    for m in range(1, month + 1):
        moved += share(city, f"move{m}", i, 3)
    number = (draw(city, "house", i) % np.uint64(900)).astype(np.int64) + 1 + moved * 1000
    married = (birth < np.datetime64("2000-01-01")) & share(city, "marry", i, 620 + 2 * month)
    return pa.table(
        {
            "_i": i,
            "person_id": citizen_ids(first_code, birth, sex_order),
            "name": np.char.add(
                pick(city, "surname", i, list(SURNAMES)),
                np.char.add(
                    pick(city, "given1", i, list(GIVEN)),
                    np.where(share(city, "short", i, 350), "", pick(city, "given2", i, list(GIVEN))),
                ),
            ),
            "sex": np.where(sex_order % 2 == 1, "1", "2"),
            "ethnic": np.where(share(city, "mongol", i, 120), "02", np.where(share(city, "hui", i, 12), "03", "01")),
            "birth_date": birth.astype("datetime64[D]"),
            "division": today,
            "address": np.char.add(
                np.char.add("内蒙古自治区鄂尔多斯市", np.array([d[2] for d in DIVISIONS])[home]),
                np.char.add(pick(city, "street", i, list(STREETS)), np.char.add(number.astype("U6"), "号")),
            ),
            "marital": np.where(married, "20", np.where(share(city, "widow", i, 30), "30", "10")),
            "education": np.where(
                birth < np.datetime64("2004-01-01"), pick(city, "education", i, ["20", "30", "60", "70"]), "80"
            ),
            "relation": pick(city, "relation", i, ["01", "10", "20", "30"]),
            "phone": np.char.add(
                pick(city, "carrier", i, ["138", "139", "150", "186", "177"]),
                np.char.zfill((draw(city, "phone", i) % np.uint64(100_000_000)).astype("U8"), 8),
            ),
            "updated_at": np.datetime64("2026-01-05T08:00:00")
            + (draw(city, "updated", i) % np.uint64(15_000_000)).astype("timedelta64[s]")
            + moved.astype("timedelta64[D]") * 20,
            "left": share(city, "leave", i, 0.4 * month) if month else np.zeros(len(i), dtype=bool),
        }
    )


def make_units(city: City, month: int = 0) -> pa.Table:
    """All units of the city as they are in ``month``; ``_i`` is the unit's number."""
    i = np.arange(city.units, dtype=np.int64)
    home = (draw(city, "unit_home", i) % np.uint64(len(DIVISIONS))).astype(np.int64)
    division = np.array([d[0] for d in DIVISIONS])[home]
    trade = (draw(city, "trade", i) % np.uint64(len(TRADES))).astype(np.int64)
    brand = np.char.add(pick(city, "brand1", i, list(BRANDS)), pick(city, "brand2", i, list(BRANDS)))
    brand = np.char.add(brand, pick(city, "brand3", i, list(GIVEN)))
    moved = np.zeros(len(i), dtype=np.int64)
    for m in range(1, month + 1):
        moved += share(city, f"umove{m}", i, 8)
    legal = make_persons(city, 0, max(1, min(city.people, city.units)), month)
    owner = np.arange(len(i)) % legal.num_rows
    return pa.table(
        {
            "_i": i,
            "credit_code": credit_codes("91", division, 10_000_000 + i * 7),
            "registration_number": registration_numbers(division, 10_000 + i),
            "name": np.char.add(
                np.char.add("鄂尔多斯市", brand),
                np.char.add(np.array(TRADES)[trade], "有限责任公司"),
            ),
            "legal_representative": legal["name"].take(pa.array(owner)),
            "division": division,
            "address": np.char.add(
                np.char.add("鄂尔多斯市", np.array([d[2] for d in DIVISIONS])[home]),
                np.char.add(
                    pick(city, "ustreet", i, list(STREETS)),
                    np.char.add(((i % 500) + 1 + moved * 1000).astype("U6"), "号"),
                ),
            ),
            "capital": np.char.add((1 + draw(city, "capital", i) % np.uint64(5000)).astype("U5"), ".00"),
            "established": (
                np.datetime64("1999-03-01") + (draw(city, "since", i) % np.uint64(9_500)).astype("timedelta64[D]")
            ).astype("datetime64[D]"),
            "status": np.where(share(city, "closed", i, 40 + 3 * month), "2", "1"),
            "industry": np.array(INDUSTRIES)[trade],
            "scope": np.char.add(
                np.array(TRADES)[trade], "相关产品的销售与服务（依法须经批准的项目，经相关部门批准后方可开展经营活动）"
            ),
            "moved": moved,
        }
    )
