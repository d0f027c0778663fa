-- guiji: the ledger. Applied once, in order; never edited after release.
CREATE SCHEMA IF NOT EXISTS ops;
CREATE SCHEMA IF NOT EXISTS source;
CREATE SCHEMA IF NOT EXISTS library;
COMMENT ON SCHEMA ops IS '运行账本';
COMMENT ON SCHEMA source IS '来源层：每个数据资源一张表，当前有效数据';
COMMENT ON SCHEMA library IS '基础库与主题库';

CREATE TABLE ops.batch (
  batch_id        text PRIMARY KEY,
  batch_no        bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  resource_id     text NOT NULL,
  department_id   text NOT NULL,
  window_start    timestamptz NOT NULL,
  window_end      timestamptz NOT NULL,
  status          text NOT NULL CHECK (status IN ('staged','held','refused','published','superseded','failed')),
  outcome         text CHECK (outcome IN ('passed','warning','held')),
  rows_read       bigint NOT NULL DEFAULT 0,
  rows_rejected   bigint NOT NULL DEFAULT 0,
  rows_held       bigint NOT NULL DEFAULT 0,
  rows_duplicate  bigint NOT NULL DEFAULT 0,
  rows_superseded bigint NOT NULL DEFAULT 0,
  rows_tombstone  bigint NOT NULL DEFAULT 0,
  rows_new        bigint NOT NULL DEFAULT 0,
  rows_changed    bigint NOT NULL DEFAULT 0,
  rows_unchanged  bigint NOT NULL DEFAULT 0,
  rows_deleted    bigint NOT NULL DEFAULT 0,
  rows_skipped    bigint NOT NULL DEFAULT 0,
  sha256          text,
  started_at      timestamptz NOT NULL,
  staged_at       timestamptz,
  published_at    timestamptz,
  reason          text,
  responsible     text,            -- ours | department | front_end, of a refused or failed batch
  cause           text,            -- errors.GuijiError.cause or rule id
  skipped         jsonb NOT NULL DEFAULT '{}',
  rules           jsonb NOT NULL DEFAULT '[]',  -- records.RuleResult per rule
  notes           jsonb NOT NULL DEFAULT '[]',
  fingerprint     text,            -- of the rules that judged it
  directory       text,            -- of the load package
  -- the accounting of design §5; a batch that has been judged must add up
  CONSTRAINT rows_accounted_for CHECK (
    status NOT IN ('published','held') OR
    rows_read = rows_rejected + rows_held + rows_duplicate + rows_superseded + rows_tombstone
              + rows_new + rows_changed + rows_unchanged),
  CONSTRAINT window_half_open CHECK (window_start < window_end)
);
CREATE INDEX batch_resource ON ops.batch (resource_id, window_start, started_at);
COMMENT ON TABLE ops.batch IS '归集批次：每批的行数核算';

CREATE TABLE ops.finding (
  finding_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  batch_id     text NOT NULL REFERENCES ops.batch,
  resource_id  text NOT NULL,
  locator      text NOT NULL,      -- file:line, file#sheet:line or table:position; never a sensitive key in clear
  row_no       bigint,
  rule_id      text NOT NULL,
  indicator    text NOT NULL,
  verdict      text NOT NULL CHECK (verdict IN ('rejected','suspicious','mended','unjudged')),
  value_masked text
);
CREATE INDEX finding_batch ON ops.finding (batch_id, rule_id);
COMMENT ON TABLE ops.finding IS '问题数据清单（脱敏）';

CREATE TABLE ops.rejected_row (
  batch_id     text NOT NULL REFERENCES ops.batch,
  row_no       bigint NOT NULL,
  resource_id  text NOT NULL,
  locator      text NOT NULL,
  rules        text[] NOT NULL,
  key_hmac     text,               -- keyed hash of the row's key: tells that a later batch mended it
  sealed       bytea NOT NULL,     -- the whole row, encrypted with GUIJI_KEY
  PRIMARY KEY (batch_id, row_no)
);
COMMENT ON TABLE ops.rejected_row IS '被拒数据原行（加密）';

CREATE TABLE ops.watermark (
  resource_id  text PRIMARY KEY,
  cursor       text,               -- exact source text
  batch_id     text NOT NULL REFERENCES ops.batch,
  snapshot_cache text,             -- id of the Parquet cache that agrees with source.*
  updated_at   timestamptz NOT NULL
);
COMMENT ON TABLE ops.watermark IS '增量水位';

CREATE TABLE ops.file (
  resource_id   text NOT NULL,
  path          text NOT NULL,
  size          bigint NOT NULL,
  modified_at   timestamptz NOT NULL,
  sha256        text NOT NULL,
  business_date date,
  batch_id      text NOT NULL REFERENCES ops.batch,
  recorded_at   timestamptz NOT NULL,
  PRIMARY KEY (resource_id, path, size, modified_at, sha256)
);
CREATE INDEX file_sha256 ON ops.file (resource_id, sha256);
COMMENT ON TABLE ops.file IS '已归集文件账';

CREATE TABLE ops.lease (
  resource_id  text PRIMARY KEY,
  token        bigint NOT NULL,    -- fencing token: grows with every holder
  batch_id     text,
  holder       text NOT NULL,
  acquired_at  timestamptz NOT NULL,
  expires_at   timestamptz NOT NULL
);
COMMENT ON TABLE ops.lease IS '资源租约';

CREATE TABLE ops.outbox (
  event_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  department_id text NOT NULL,
  resource_id   text,
  batch_id      text,
  kind          text NOT NULL,     -- failed_rows | held | refused | unavailable | refused_us | recovered | missed | reminder | stale
  cause         text NOT NULL,     -- groups events with one root cause
  dedupe        text UNIQUE,       -- the same event is written once
  payload       jsonb NOT NULL DEFAULT '{}',
  created_at    timestamptz NOT NULL,
  mail_id       text,              -- Message-ID of the digest that carries it; set before sending
  attempts      int NOT NULL DEFAULT 0,
  next_attempt_at timestamptz,
  sent_at       timestamptz,
  dead_at       timestamptz,
  last_error    text
);
CREATE INDEX outbox_pending ON ops.outbox (department_id) WHERE sent_at IS NULL AND dead_at IS NULL;
COMMENT ON TABLE ops.outbox IS '通知发件箱';

CREATE TABLE ops.ticket (
  ticket_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  department_id text NOT NULL,
  resource_id   text NOT NULL,
  rule_id       text NOT NULL,
  opened_batch  text REFERENCES ops.batch,
  closed_batch  text REFERENCES ops.batch,
  rows_open     bigint NOT NULL DEFAULT 0,
  opened_at     timestamptz NOT NULL,
  due_at        timestamptz NOT NULL,
  closed_at     timestamptz,
  stage         text NOT NULL DEFAULT 'open' CHECK (stage IN ('open','reminded','overdue','escalated','closed')),
  history       jsonb NOT NULL DEFAULT '[]'
);
CREATE UNIQUE INDEX ticket_one_open ON ops.ticket (resource_id, rule_id) WHERE closed_at IS NULL;
COMMENT ON TABLE ops.ticket IS '整改工单';

CREATE TABLE ops.conflict (
  library      text NOT NULL,
  key_hmac     text NOT NULL,
  key_masked   text NOT NULL,
  field        text NOT NULL,
  winner       text NOT NULL,      -- resource id
  loser        text NOT NULL,      -- resource id
  first_seen   timestamptz NOT NULL,
  last_seen    timestamptz NOT NULL,
  settled_at   timestamptz,
  PRIMARY KEY (library, key_hmac, field, loser)
);
COMMENT ON TABLE ops.conflict IS '多源比对差异';

CREATE TABLE ops.audit (
  audit_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at         timestamptz NOT NULL,
  actor      text NOT NULL,
  action     text NOT NULL,
  object     text NOT NULL,
  detail     jsonb NOT NULL DEFAULT '{}',
  previous   text NOT NULL,        -- hash of the entry before
  hash       text NOT NULL UNIQUE
);
COMMENT ON TABLE ops.audit IS '审计日志（哈希链）';

CREATE TABLE ops.dirty_key (
  library      text NOT NULL,
  key          text[] NOT NULL,    -- library key values as text
  batch_id     text NOT NULL,
  marked_at    timestamptz NOT NULL
);
CREATE INDEX dirty_key_library ON ops.dirty_key (library);
CREATE TABLE ops.dirty_library (    -- one marker makes all keys of a resource dirty (first load, rule change)
  library      text NOT NULL,
  resource_id  text NOT NULL,
  batch_id     text NOT NULL,
  marked_at    timestamptz NOT NULL
);
COMMENT ON TABLE ops.dirty_key IS '待融合主键';
COMMENT ON TABLE ops.dirty_library IS '待全量融合的资源';

CREATE TABLE ops.delivery_window (
  resource_id  text NOT NULL,
  window_start timestamptz NOT NULL,
  window_end   timestamptz NOT NULL,
  due_at       timestamptz NOT NULL,
  state        text NOT NULL CHECK (state IN ('met','late','missed','not_due')),
  met_at       timestamptz,
  batch_id     text,
  responsible  text,               -- department | front_end | ours, of a late or missed window
  calendar     text NOT NULL,      -- legal | weekdays (beyond the calendar's data)
  checked_at   timestamptz NOT NULL,
  PRIMARY KEY (resource_id, window_start)
);
COMMENT ON TABLE ops.delivery_window IS '更新周期履约';

CREATE TABLE ops.report (
  month        text PRIMARY KEY,   -- YYYY-MM
  as_of        date NOT NULL,
  frozen_at    timestamptz NOT NULL,
  figures      jsonb NOT NULL,
  sha256       text NOT NULL
);
COMMENT ON TABLE ops.report IS '月度通报（冻结）';
