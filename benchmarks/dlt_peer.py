"""The peer: dlt's bare upsert of one table, PostgreSQL to PostgreSQL, no checks. Arguments: source, target, pipelines dir."""

import sys

import dlt
from dlt.sources.sql_database import sql_table

source, target, pipelines_dir = sys.argv[1:4]
table = sql_table(
    credentials=source.replace("postgresql://", "postgresql+psycopg2://", 1),
    table="people",
    backend="pyarrow",
    chunk_size=100_000,
    reflection_level="full",
)
table.apply_hints(primary_key="gmsfhm", write_disposition={"disposition": "merge", "strategy": "upsert"})
pipeline = dlt.pipeline(
    "bench", destination=dlt.destinations.postgres(target), dataset_name="peer", pipelines_dir=pipelines_dir
)
print(pipeline.run(table))
