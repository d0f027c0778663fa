"""The catalog as Airflow sees it; beside ``ui`` the only package that imports Airflow.

- ``shards``       which resource belongs to which DAG file, without reading the catalog
- ``build``        one resource -> one DAG (stage, check, publish), deterministically (F-60)
- ``standing``     the DAGs of the house: libraries, freshness, notices, monthly report, maintenance, hold.review
- ``tasks``        what runs inside a task; calls ``pipeline`` and the ledger, which are the truth
- ``documentation`` the Chinese ``doc_md`` of a DAG, from the catalog
- ``connections``  lets Airflow's own connections serve inside tasks
- ``environment``  secrets, paths and settings that ``airflow.cfg`` can't hold
- ``prepare``      migrates the metadata database, sets the pools (one process, one import of Airflow)
- ``launch``       starts and stops api-server, scheduler and dag-processor together (``./guiji up``, the demo)

Nothing here decides what is done: the ledger does. A task that runs twice answers in milliseconds.
"""
