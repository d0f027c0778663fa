-- guiji: backflow from upper levels and purchased social data are told apart from what departments supply.
ALTER TABLE ops.batch ADD COLUMN origin text NOT NULL DEFAULT 'department'
  CHECK (origin IN ('department', 'backflow', 'purchased'));
COMMENT ON COLUMN ops.batch.origin IS '数据由来：department 部门归集，backflow 上级回流，purchased 社会数据统采共用';
