-- guiji: what reconciling front-end, source layer and libraries found (F-05). Counts and sums only, no value of a row.
CREATE TABLE ops.reconciliation (
  reconciliation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  resource_id     text NOT NULL,
  batch_id        text REFERENCES ops.batch,   -- the newest published one when it was compared
  started_at      timestamptz NOT NULL,
  finished_at     timestamptz NOT NULL,
  rows_front_end  bigint,                      -- null where the front-end can't be read again (files)
  rows_rejected   bigint NOT NULL DEFAULT 0,   -- of them, rows that the resource's rules reject
  rows_layer      bigint NOT NULL,
  keys_missing    bigint NOT NULL DEFAULT 0,   -- at the front-end, not in the source layer
  keys_stale      bigint NOT NULL DEFAULT 0,   -- in both, with other values
  keys_surplus    bigint NOT NULL DEFAULT 0,   -- in the source layer only
  keys_pending    bigint NOT NULL DEFAULT 0,   -- differ, and the next run reads them anyway
  keys_unsettled  bigint NOT NULL DEFAULT 0,   -- may be surplus, or the key of a rejected row that can't be read
  sums            jsonb NOT NULL DEFAULT '[]', -- [{field, front_end, layer}]
  buckets         jsonb NOT NULL DEFAULT '[]', -- [{bucket, front_end, layer, missing, stale, surplus, pending}] that differ
  libraries       jsonb NOT NULL DEFAULT '[]', -- [{library, mapping, keys, missing, waiting}]
  agrees          boolean NOT NULL,
  repaired_batch  text REFERENCES ops.batch
);
CREATE INDEX reconciliation_resource ON ops.reconciliation (resource_id, started_at);
COMMENT ON TABLE ops.reconciliation IS '对账：前置机、来源层与库的三方核对';
