-- guiji: how often each value of a guarded code field serves, for resources that deliver changes only. Applied once.
CREATE TABLE ops.value_count (
  resource_id text NOT NULL,
  field       text NOT NULL,
  counts      jsonb NOT NULL,       -- [[value or null, rows], …]
  rows        bigint NOT NULL,
  touched     bigint NOT NULL,      -- rows that all batches together had changed when it was counted
  counted_at  timestamptz NOT NULL,
  PRIMARY KEY (resource_id, field)
);
COMMENT ON TABLE ops.value_count IS '代码项取值分布（现有数据），供突变保护比较';
