-- guiji: what tickets and libraries remember. Applied once, in order; never edited after release.
CREATE TABLE ops.ticket_key (
  ticket_id    bigint NOT NULL REFERENCES ops.ticket,
  key_hmac     text NOT NULL,      -- keyed hash of the row's key; '!<batch>:<row>' where the key can't be read
  batch_id     text NOT NULL,      -- the last batch that rejected it
  mended_batch text,               -- the batch that brought it right
  PRIMARY KEY (ticket_id, key_hmac)
);
CREATE INDEX ticket_key_open ON ops.ticket_key (ticket_id) WHERE mended_batch IS NULL;
COMMENT ON TABLE ops.ticket_key IS '整改工单涉及的数据（主键散列）';
CREATE INDEX rejected_row_key ON ops.rejected_row (resource_id, key_hmac);
CREATE INDEX file_batch ON ops.file (batch_id);
CREATE INDEX outbox_resource ON ops.outbox (resource_id, event_id);

-- Which resource is which ordinal in a library's provenance. An ordinal is never given to another source again.
CREATE TABLE ops.library_source (
  library         text NOT NULL,
  ordinal         smallint NOT NULL CHECK (ordinal > 0),
  resource_id     text NOT NULL,
  mapping         smallint NOT NULL,  -- which of the resource's mappings into this library
  department_id   text NOT NULL,
  department_name text NOT NULL,
  resource_name   text NOT NULL,
  source_key      text[] NOT NULL,    -- columns of source.* that make the library's key, in its order
  fields          jsonb NOT NULL,     -- library field -> column of source.*
  retired_at      timestamptz,        -- the catalog no longer maps it
  PRIMARY KEY (library, ordinal),
  UNIQUE (library, resource_id, mapping)
);
COMMENT ON TABLE ops.library_source IS '库的来源登记：溯源序号';

-- What a library was resolved by; a change of strategies, sources or fields makes all keys dirty.
CREATE TABLE ops.library_state (
  library      text PRIMARY KEY,
  fingerprint  text NOT NULL,
  resolved_at  timestamptz NOT NULL
);
COMMENT ON TABLE ops.library_state IS '库的融合规则版本';
