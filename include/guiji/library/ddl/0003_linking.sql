-- guiji: secondary keys, probable matches, and what a conflict tells the departments. Applied once; never edited after release.

-- a key that is marked by a secondary key of the library: resolving knows which key that is
ALTER TABLE ops.dirty_key ADD COLUMN link text;

-- library link -> columns of source.* of rows that are found by it
ALTER TABLE ops.library_source ADD COLUMN by_link jsonb NOT NULL DEFAULT '{}';
ALTER TABLE ops.library_source ADD COLUMN row_key text[];  -- key of the source table

ALTER TABLE ops.conflict ADD COLUMN loser_department text;
ALTER TABLE ops.conflict ADD COLUMN winner_department text;
ALTER TABLE ops.conflict ADD COLUMN loser_value text;    -- masked by the field's level
ALTER TABLE ops.conflict ADD COLUMN winner_value text;
ALTER TABLE ops.conflict ADD COLUMN strategy text;
ALTER TABLE ops.conflict ADD COLUMN tied boolean NOT NULL DEFAULT false;  -- only the order of departments decided
CREATE INDEX conflict_open ON ops.conflict (library, loser, winner) WHERE settled_at IS NULL;

CREATE TABLE ops.match_proposal (
  proposal_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  library      text NOT NULL,
  resource_id  text NOT NULL,
  row_key      text[] NOT NULL,    -- key of the row of source.* that has no library key
  key          text[] NOT NULL,    -- the library key it may belong to
  score        numeric(5,2) NOT NULL,
  evidence     text NOT NULL,      -- hash of what was compared: other values are another question
  status       text NOT NULL DEFAULT 'proposed' CHECK (status IN ('proposed','confirmed','rejected','withdrawn')),
  proposed_at  timestamptz NOT NULL,
  decided_at   timestamptz,
  decided_by   text,
  why          text,
  UNIQUE (library, resource_id, row_key, key)
);
-- a row belongs to one key at most
CREATE UNIQUE INDEX match_confirmed_row ON ops.match_proposal (library, resource_id, row_key) WHERE status = 'confirmed';
CREATE INDEX match_confirmed_key ON ops.match_proposal (library, resource_id, key) WHERE status = 'confirmed';
COMMENT ON TABLE ops.match_proposal IS '疑似同一主体：待人工确认的匹配';

-- rows that were compared already, and what was compared, so that they are compared again only when it changes
CREATE TABLE ops.match_seen (
  library      text NOT NULL,
  resource_id  text NOT NULL,
  row_key      text[] NOT NULL,
  evidence     text NOT NULL,
  PRIMARY KEY (library, resource_id, row_key)
);
COMMENT ON TABLE ops.match_seen IS '已比对过的无主键数据';

-- until when the library's rows were compared with a resource's rows without a key
CREATE TABLE ops.match_run (
  library      text NOT NULL,
  resource_id  text NOT NULL,
  matched_at   timestamptz NOT NULL,
  PRIMARY KEY (library, resource_id)
);
COMMENT ON TABLE ops.match_run IS '匹配进度';
