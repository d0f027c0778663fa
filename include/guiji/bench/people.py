"""A table of synthetic people, 11 columns, made column by column; ids carry right check digits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

DIVISIONS = np.array([150602, 150621, 150622, 150623, 150624, 150625, 150626, 150627])
WEIGHTS = np.array([7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2])
CHECK = np.frombuffer(b"10X98765432", dtype=np.uint8)
SURNAMES = np.array(list("王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗"))
GIVEN = np.array(list("伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华建文辉玲"))
COLUMNS = ("gmsfhm", "xm", "xb", "mz", "csrq", "hjqh", "hjdz", "hyzk", "whcd", "lxdh", "gxsj")
DDL = (
    "gmsfhm text, xm text, xb text, mz text, csrq date, hjqh text, hjdz text, hyzk text, whcd text, lxdh text,"
    " gxsj timestamp"
)


def make_people(rows: int, seed: int = 1, chunk: int = 250_000) -> Iterator[pa.RecordBatch]:
    """``rows`` people in chunks; ids are distinct (division × birth day × sequence), 1 in 500 has a planted error."""
    rng = np.random.default_rng(seed)
    # born before October 1999: any division in force since 1984 is beyond doubt, so only planted errors are found
    days = 21_800
    first = np.datetime64("1940-01-01").astype("datetime64[D]").astype(np.int64)
    for start in range(0, rows, chunk):
        n = min(chunk, rows - start)
        i = np.arange(start, start + n, dtype=np.int64)
        division = DIVISIONS[i % 8]
        day = first + (i // 8) % days
        sequence = 1 + (i // (8 * days)) % 999
        date = day.astype("datetime64[D]")
        compact = np.char.replace(np.datetime_as_string(date), "-", "").astype("S8")
        body = np.char.add(np.char.add(division.astype("S6"), compact), np.char.zfill(sequence.astype("S3"), 3)).astype(
            "S17"
        )
        digits = body.view(np.uint8).reshape(n, 17) - 48
        check = CHECK[(digits.astype(np.int64) @ WEIGHTS) % 11]
        ids = np.concatenate([body.view(np.uint8).reshape(n, 17), check[:, None]], axis=1).copy().view("S18").ravel()
        wrong = (i % 500) == 499
        ids[wrong] = np.char.add(ids[wrong].astype("S17"), np.where(check[wrong] == 48, b"1", b"0"))
        moment = np.datetime64("2026-01-01T00:00:00") + rng.integers(0, 24_000_000, n).astype("timedelta64[s]")
        yield pa.record_batch(
            {
                "gmsfhm": pa.array(ids.astype("U18")),
                "xm": pa.array(np.char.add(SURNAMES[rng.integers(0, 20, n)], GIVEN[rng.integers(0, 28, n)])),
                "xb": pa.array(np.where(sequence % 2 == 1, "1", "2")),
                "mz": pa.array(np.where(rng.random(n) < 0.9, "01", "02")),
                "csrq": pa.array(date),
                "hjqh": pa.array(division.astype("U6")),
                "hjdz": pa.array(
                    np.char.add("鄂尔多斯市东胜区民族东街", np.char.add(rng.integers(1, 999, n).astype("U3"), "号"))
                ),
                "hyzk": pa.array(np.array(["10", "20", "21", "22", "30", "40"])[rng.integers(0, 6, n)]),
                "whcd": pa.array(np.array(["10", "20", "30", "60", "70", "80"])[rng.integers(0, 6, n)]),
                "lxdh": pa.array(np.char.add("139", np.char.zfill(rng.integers(0, 99_999_999, n).astype("U8"), 8))),
                "gxsj": pa.array(moment.astype("datetime64[us]")),
            }
        )
