"""Lets connections that engineers keep in Airflow (Admin, Connections, or a secrets backend) serve inside tasks."""

from __future__ import annotations

from guiji.connections import Connection, register_resolver


def register_airflow_connections() -> None:
    """From now on ``guiji.connections.get_connection`` asks Airflow too; call it inside a task only."""
    register_resolver(find_airflow_connection)


def find_airflow_connection(conn_id: str) -> Connection | None:
    """Airflow's connection ``conn_id`` in our form, or None where Airflow has none."""
    from airflow.sdk import Connection as AirflowConnection
    from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

    try:
        found = AirflowConnection.get(conn_id)
    except (AirflowNotFoundException, AirflowRuntimeError):
        return None
    return Connection(
        conn_id=conn_id,
        conn_type="postgres" if found.conn_type == "postgresql" else found.conn_type.replace("-", "_"),
        host=found.host or None,
        port=found.port,
        login=found.login or None,
        password=found.password or None,
        schema=found.schema or None,
        extra=dict(found.extra_dejson or {}),
    )
