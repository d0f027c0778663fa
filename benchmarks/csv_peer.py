"""Merely reads a GB18030 CSV file with polars, pyarrow and pandas, each in the ways its users would.

Run by ``guiji.bench.csv`` in the peers' virtual environment: python csv_peer.py FILE. Prints the seconds of each as JSON.
polars takes the encoding and transcodes in memory itself; that is part of its time. Nothing of pyarrow's or pandas'
times is spent outside their one call. Types are inferred in one variant and left text in the other.
"""

import json
import sys
import time


def main(path: str) -> None:
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    import pyarrow.csv as pc

    with open(path, "rb") as f:
        names = f.readline().decode("gb18030").strip().replace('"', "").split(",")
    read_options = pc.ReadOptions(encoding="gb18030")
    as_text = pc.ConvertOptions(column_types={name: pa.string() for name in names})
    ways = {
        "polars text": lambda: pl.read_csv(path, encoding="gb18030", infer_schema=False),
        "polars inferred": lambda: pl.read_csv(path, encoding="gb18030"),
        "pyarrow text": lambda: pc.read_csv(path, read_options, convert_options=as_text),
        "pyarrow inferred": lambda: pc.read_csv(path, read_options),
        "pandas text": lambda: pd.read_csv(path, encoding="gb18030", dtype=str),
    }
    seconds = {}
    for name, read in ways.items():
        start = time.perf_counter()
        table = read()
        seconds[name] = time.perf_counter() - start
        del table
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(sys.argv[1])
