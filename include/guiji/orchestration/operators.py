"""The operators of our DAGs: thin shells over ``tasks``; what they need at parse time is Airflow's SDK alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from guiji.errors import LeaseLost
from guiji.orchestration import tasks
from guiji.settings import Settings

T = TypeVar("T")


def run_or_skip(step: Callable[[Settings], T]) -> T:
    """Runs a step of ``tasks``; what needs no doing, or what a newer run does, shows as skipped."""
    try:
        return tasks.run_step(step)
    except (tasks.BatchSuperseded, tasks.NothingToDo, LeaseLost) as exc:
        raise AirflowSkipException(str(exc)) from None


class StageOperator(BaseOperator):
    """Fetches one delivery of a resource into a load package; its XCom is the batch id."""

    ui_color = "#e3eef9"

    def __init__(self, *, resource_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.resource_id = resource_id

    def execute(self, context: Any) -> str:
        return run_or_skip(lambda settings: tasks.stage(settings, self.resource_id, context))


class CheckOperator(BaseOperator):
    """Standardises, checks and judges the batch that ``stage`` names."""

    ui_color = "#fdf3d8"

    def __init__(self, *, resource_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.resource_id = resource_id

    def execute(self, context: Any) -> None:
        batch_id = context["ti"].xcom_pull(task_ids="stage")
        run_or_skip(lambda settings: tasks.check(settings, self.resource_id, batch_id))


class PublishOperator(BaseOperator):
    """Publishes the batch in one transaction. Only then the resource's asset is updated: a held batch fails here."""

    ui_color = "#dff2e4"

    def __init__(self, *, resource_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.resource_id = resource_id

    def execute(self, context: Any) -> None:
        batch_id = context["ti"].xcom_pull(task_ids="stage")
        try:
            run_or_skip(lambda settings: tasks.publish(settings, self.resource_id, batch_id, context["run_id"]))
        except tasks.BatchHeld:
            tasks.open_review(batch_id)  # prompt; DAG ``notices`` asks again should this fail
            raise


class CallOperator(BaseOperator):
    """Calls a function of ``tasks`` by name with the settings and ``arguments``."""

    template_fields: Sequence[str] = ("arguments",)

    def __init__(self, *, function: str, arguments: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function = function
        self.arguments = arguments or {}

    def execute(self, context: Any) -> None:
        run_or_skip(lambda settings: getattr(tasks, self.function)(settings, **self.arguments))


class ReconcileOperator(BaseOperator):
    """Compares a department's due resources with its front-end, one after another, in one slot of its pool."""

    ui_color = "#e8e4f5"

    def __init__(self, *, department_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.department_id = department_id

    def execute(self, context: Any) -> None:
        run_or_skip(lambda settings: tasks.reconcile_department(settings, self.department_id, context))


class BrokenOperator(BaseOperator):
    """Stands where a catalog file can't be used; fails, whoever runs it, so that nothing looks done (F-59)."""

    ui_color = "#f9d9d9"

    def __init__(self, *, catalog_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.catalog_id = catalog_id

    def execute(self, context: Any) -> None:
        from guiji.errors import CatalogError

        raise CatalogError(
            f"The catalog entry {self.catalog_id} can't be used; see this DAG's documentation. Nothing was run; mend the "
            "file, and Airflow builds the real DAG at its next look."
        )
