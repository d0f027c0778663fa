"""The person in the loop: a held batch waits in Airflow's Required Actions until somebody decides."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NoReturn

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import AssetAlias

from guiji.orchestration import tasks
from guiji.orchestration.build import resource_asset
from guiji.orchestration.operators import run_or_skip

LATER = "暂不决定"
#: nobody answered: the question is put again, or is dropped when the batch was decided elsewhere
ASK_AGAIN = timedelta(hours=1)
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
            options=[tasks.APPROVE, tasks.REJECT, LATER],
            defaults=[LATER],
            response_timeout=ASK_AGAIN,
            outlets=[PUBLISHED],
            **{**kwargs, "execution_timeout": None},
        )

    def execute(self, context: Any) -> Any:
        self._ask(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> str:
        answer = super().execute_complete(context, event)
        batch_id: str = context["dag_run"].conf["batch_id"]
        why = str(answer["params_input"].get("why", "")).strip()
        chosen = answer["chosen_options"][0]
        if chosen == LATER or len(why) < 2:
            self._ask(context)
        who = (answer["responded_by_user"] or {}).get("name") or "airflow"
        resource_id = run_or_skip(lambda settings: tasks.decide(settings, batch_id, chosen, who, why))
        if resource_id is not None:
            context["outlet_events"][PUBLISHED].add(resource_asset(resource_id))
        return batch_id

    def _ask(self, context: Any) -> NoReturn:
        """Puts the question and leaves the worker by an exception of Airflow's; the answer comes to execute_complete.

        Asked again, Airflow drops the former answer and keeps the former text.
        """
        batch_id = context["dag_run"].conf["batch_id"]
        self.body = run_or_skip(lambda settings: tasks.describe_held(settings, batch_id))
        super().execute(context)
        raise AssertionError("HITLOperator.execute returned")
