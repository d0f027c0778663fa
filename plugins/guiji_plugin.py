"""Registers the centre's pages with Airflow. Airflow executes every .py of this folder: nothing else may stand here."""

from airflow.plugins_manager import AirflowPlugin


async def serve_pages(scope, receive, send):
    """The pages, imported at the first request: scheduler, dag-processor and tasks load plugins too."""
    from guiji.ui.app import app

    await app(scope, receive, send)


class GuijiPlugin(AirflowPlugin):
    name = "guiji"
    fastapi_apps = [{"app": serve_pages, "url_prefix": "/guiji", "name": "guiji"}]  # noqa: RUF012  Airflow's way
    external_views = [  # noqa: RUF012
        {
            "name": "数据归集",
            "href": "/guiji/",
            "destination": "nav",
            "url_route": "guiji",
            "nav_top_level": True,
        }
    ]
