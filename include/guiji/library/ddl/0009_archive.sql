-- guiji: which history was archived where, and what of it was brought back. Applied once; never edited after release.
CREATE TABLE ops.archive (
  archive_id   text PRIMARY KEY,
  object       text NOT NULL,       -- resource id or library
  before       date NOT NULL,       -- what had ended before that day
  rows         bigint NOT NULL,
  content      text NOT NULL,       -- hash of the rows, whatever their order
  directory    text NOT NULL,       -- where it was written
  archived_at  timestamptz NOT NULL,
  archived_by  text NOT NULL,
  restored_at  timestamptz
);
CREATE INDEX archive_object ON ops.archive (object, before);
COMMENT ON TABLE ops.archive IS '历史数据归档登记';
