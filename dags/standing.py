"""The DAGs of the house: libraries, freshness, notices, monthly report, maintenance, held batches."""

from airflow.sdk import DAG  # noqa: F401  what Airflow imports once, before it forks a parser per file

from guiji.orchestration.standing import build_standing
from guiji.settings import Settings

for dag in build_standing(Settings.from_env()):
    globals()[dag.dag_id] = dag
