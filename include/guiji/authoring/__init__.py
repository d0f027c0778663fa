"""Writing the catalog with a machine's help: from a file, a table or a department's catalog sheet to resource files.

``discover``      which columns a file or table has, and how it must be read (encoding, delimiter, ``sheets``, header)
``facts``         what stands in each column, counted over the rows as the pipeline itself reads them
``guess``         from facts to fields: ``types``, identifiers, code tables, ``keys``; every doubt becomes a question
``personal``      whose data a column holds, and the level that is proposed for it
``draft``         the resource file as text, with its questions (``# ？ …``, and ``待填`` where an answer is needed)
``guide``         the columns of 政务信息资源目录编制指南（试行）and how each maps to the catalog
``sheet_in``, ``sheet_out``   a department's catalog sheet to resource files, and back without loss
``words``         names that departments use for columns, and what they mean

No value of a delivery is ever written into a draft: only column names, counts, and words of code tables.
"""

from __future__ import annotations
