-- guiji: of several rows of one library key, which one a source gives. Applied once; never edited after release.

ALTER TABLE ops.library_source ADD COLUMN newest_by text;  -- the source's column that says how new a row is; null: its publication
