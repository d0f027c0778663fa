-- guiji: files of one resource and day that disagree with each other. Applied once; never edited after release.

-- departments: two resources that feed a library; files: two files of one resource (winner = loser)
ALTER TABLE ops.conflict ADD COLUMN scope text NOT NULL DEFAULT 'departments' CHECK (scope IN ('departments','files'));
ALTER TABLE ops.conflict ADD COLUMN business_date date;   -- of both files
ALTER TABLE ops.conflict ADD COLUMN files text[];         -- names of both
ALTER TABLE ops.conflict DROP CONSTRAINT conflict_pkey;
ALTER TABLE ops.conflict ADD PRIMARY KEY (library, key_hmac, field, loser, scope);
CREATE INDEX conflict_files ON ops.conflict (loser) WHERE settled_at IS NULL AND scope = 'files';
