-- guiji: what the files of the newest day said, also where nothing changed. Applied once; never edited after release.

-- of file series that feed a library with vintages only, and of their newest business date only
CREATE TABLE ops.file_said (
  resource_id   text NOT NULL,
  business_date date NOT NULL,
  batch_id      text NOT NULL REFERENCES ops.batch,
  key_hash      bigint NOT NULL,   -- of the key of source.*
  row_hash      bigint NOT NULL,   -- which version of the row
  PRIMARY KEY (batch_id, key_hash, row_hash)
);
CREATE INDEX file_said_day ON ops.file_said (resource_id, business_date);
COMMENT ON TABLE ops.file_said IS '最近一个业务日期的各文件说过的行（用于发现同日文件之间的不一致）';
