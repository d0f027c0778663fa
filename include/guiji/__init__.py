"""guiji (归集): gathers what a city's departments hold, makes it trustworthy, and says how it stands.

The way of one resource, in order (``pipeline`` is the whole story on one page):

1. ``catalog``      one strict YAML file says what a resource is              -> ``Resource``
2. ``sources``      read one delivery in bounded memory, text stays text      -> ``Delivery``
3. ``staging``      an immutable Parquet load package with a manifest         -> ``StagedBatch``
4. ``quality``      standardise and check every row in one pass; judge        -> ``CheckedBatch``, ``QualityReport``
5. ``library``      compare outside the database, publish in one transaction  -> ``Difference``, batch row
6. ``library``      resolve dirty keys into the base libraries, with provenance
7. ``notices``      one digest mail per department, from a durable outbox
8. ``report``       the frozen month: indicators with A and B, HTML and xlsx

Below the steps: ``ledger`` (batches, watermarks, files, leases), ``freshness`` (legal calendar, delivery
windows), ``identifiers`` (citizen id, credit code, division), ``codes`` (code tables), ``measures`` (units),
``damage`` and ``misread`` (what destroyed a text before it came), ``limits``, ``too_large`` and ``tangled`` (what no step
can hold or finish), ``postgres`` and
``warehouse`` (embedded server, connections, DDL), ``settings`` and ``errors``.
Before them: ``authoring`` (resource files drafted from files, tables and catalog sheets) and ``precheck`` (a department's
file judged before it is delivered).
Beside them: ``reconciliation`` (front-end, source layer and libraries compared, three ways), ``orchestration`` and ``ui``, the only importers of Airflow, and ``demo``, a synthetic city.
Imports go one way (``tests/test_layers.py``); the steps do not import each other.
"""

__version__ = "0.1.0"
