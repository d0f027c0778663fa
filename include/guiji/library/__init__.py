"""The source layer and the libraries.

``difference`` what a batch changes, found outside the database · ``tables`` DDL of source and library tables from the
catalog · ``load`` Parquet into PostgreSQL with COPY · ``publish`` one transaction · ``apply`` the
difference into a source table · ``transact`` what every write shares · ``hold`` batches that wait for a
person · ``survivorship`` which department's value wins, as SQL · ``resolve`` dirty keys into library rows ·
``provenance`` who supplied what, and who disagrees · ``trace`` where each field of one row comes from · ``ddl``
numbered SQL.
"""
