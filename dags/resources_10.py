"""A shard of the catalog as DAGs, at most 200; which one, says the number in this file's name."""

from airflow.sdk import DAG  # noqa: F401  what Airflow imports once, before it forks a parser per file

from guiji.orchestration.build import build_shard
from guiji.settings import Settings

for dag in build_shard(Settings.from_env(), __file__):
    globals()[dag.dag_id] = dag
