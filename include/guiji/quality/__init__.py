"""Rules become row flags in one pass, Great Expectations judges the batch, bad rows are kept with their reasons.

``check``      every row judged once by the embedded engine (``statement`` builds the SQL, ``identify`` judges the
               identifiers, ``functions`` reads geometries, ``carry`` spares rows that already serve, ``duplicates``
               settles several rows of one key)
``outcome``    rejected rows, flags and present keys, made from the rows that raised a signal; ``findings`` what is
               told of them
``judge``      Great Expectations' verdict on the batch, from the flags and the counts; ``page`` shows it
``rules``      every rule with the words a department reads

All that a step writes lies in the package's directory; ``checked.json`` and ``quality.json`` are written last and say
that the step is done. A run that breaks off leaves neither, and the next one writes everything anew.
"""

from __future__ import annotations

from guiji.quality.check import check_batch, demand_rows, load_checked
from guiji.quality.judge import judge_batch, load_quality, warm_up

__all__ = ["check_batch", "demand_rows", "judge_batch", "load_checked", "load_quality", "warm_up"]
