"""The person in the loop: a held batch waits in Airflow's Required Actions until somebody decides."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import AssetAlias

from guiji.orchestration import tasks
from guiji.orchestration.build import resource_asset
from guiji.orchestration.operators import run_or_skip

PUBLISHED = AssetAlias("guiji.review.published")


class ReviewOperator(HITLOperator):
    """Asks whether the batch of this run may be published, and writes the answer, who gave it and why to the ledger.

    It waits without a worker and without a triggerer. A batch that was decided elsewhere meanwhile (command line,
    dashboard) is left as it is: the ledger counts, not this task.
    """

    ui_color = "#fbe3c0"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            subject="批次 {{ params.batch_id }} 被暂停，是否发布？",
            options=[tasks.APPROVE, tasks.REJECT],
            outlets=[PUBLISHED],
            **{**kwargs, "execution_timeout": None},
        )

    def execute(self, context: Any) -> Any:
        batch_id = context["dag_run"].conf["batch_id"]
        self.body = run_or_skip(lambda settings: tasks.describe_held(settings, batch_id))
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> str:
        answer = super().execute_complete(context, event)
        batch_id: str = context["dag_run"].conf["batch_id"]
        who = (answer["responded_by_user"] or {}).get("name") or "airflow"
        chosen, why = answer["chosen_options"][0], str(answer["params_input"].get("why", ""))
        resource_id = run_or_skip(lambda settings: tasks.decide(settings, batch_id, chosen, who, why))
        if resource_id is not None:
            context["outlet_events"][PUBLISHED].add(resource_asset(resource_id))
        return batch_id
