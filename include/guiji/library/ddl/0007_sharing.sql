-- guiji: read-only views for departments, who may see what until when, and for what purpose. Applied once; never edited.
CREATE SCHEMA IF NOT EXISTS share;
COMMENT ON SCHEMA share IS '共享视图：按共享类型授权，按分级脱敏，只读';

CREATE TABLE ops.share_grant (
  grant_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  resource_id   text NOT NULL,
  department_id text NOT NULL,      -- who may read
  purpose       text NOT NULL,      -- what for, as applied for
  terms         jsonb NOT NULL,     -- sharing type, condition and scope of the catalog when it was granted
  fields        jsonb NOT NULL DEFAULT '{}',  -- fields shown in clear -> their level when it was granted
  agreement     text,               -- number of the agreement that was signed
  valid_until   date NOT NULL,      -- the last day
  granted_by    text NOT NULL,
  granted_at    timestamptz NOT NULL,
  ended_at      timestamptz,
  ended_by      text,
  ended_why     text
);
CREATE UNIQUE INDEX share_grant_one ON ops.share_grant (resource_id, department_id) WHERE ended_at IS NULL;
COMMENT ON TABLE ops.share_grant IS '共享授权：谁、为何、到何时';

CREATE TABLE ops.share_view (
  view        text PRIMARY KEY,     -- in schema share
  resource_id text NOT NULL,
  grant_id    bigint REFERENCES ops.share_grant,  -- of a view that shows fields in clear
  sha256      text NOT NULL,        -- of its definition
  made_at     timestamptz NOT NULL
);
COMMENT ON TABLE ops.share_view IS '共享视图登记';

CREATE TABLE ops.share_role (
  role          text PRIMARY KEY,
  department_id text NOT NULL UNIQUE,
  made_at       timestamptz NOT NULL
);
COMMENT ON TABLE ops.share_role IS '部门只读角色';
