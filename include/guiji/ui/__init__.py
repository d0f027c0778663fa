"""The centre's pages inside Airflow's UI: server-rendered Chinese HTML behind Airflow's own login.

- ``app``      routes; every one of them asks Airflow who is calling (F-71)
- ``queries``  the figures, all from ``ops.*``: what a page shows can be asked again in SQL
- ``words``    the Chinese words for states, and the formats of numbers and times
- ``templates`` Jinja2 with autoescape; style sheet inline, nothing is loaded from elsewhere
"""
