-- guiji: which columns each delivery had, so that the next one can be compared with it (F-16).
CREATE TABLE ops.batch_schema (
  batch_id      text PRIMARY KEY REFERENCES ops.batch,
  resource_id   text NOT NULL,
  fingerprint   text NOT NULL,      -- sha256 over names, order and types as delivered
  columns       jsonb NOT NULL,     -- [[name, type], …] in the order of the delivery
  compared_with text REFERENCES ops.batch,  -- the batch that was published before; null for a first one
  difference    text,               -- in Chinese, as the department reads it; null where nothing differs
  is_drift      boolean NOT NULL DEFAULT false,  -- more than the order differs
  recorded_at   timestamptz NOT NULL
);
CREATE INDEX batch_schema_resource ON ops.batch_schema (resource_id, recorded_at);
COMMENT ON TABLE ops.batch_schema IS '每批数据交付时的列（名称、次序、类型）及与上一批的差异';
