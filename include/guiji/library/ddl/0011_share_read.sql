-- guiji: who read which shared view, and when (S1 art. 22). Applied once; never edited.
CREATE TABLE ops.share_read (
  read_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  department_id text,               -- null: no department's role, an administrator
  read_no       bigint,             -- counts on per department, also for a read whose transaction was rolled back
  view          text NOT NULL,      -- in schema share
  login         text NOT NULL,
  at            timestamptz NOT NULL,
  audited_at    timestamptz         -- when it went into the audit trail
);
CREATE UNIQUE INDEX share_read_no ON ops.share_read (department_id, read_no);
CREATE INDEX share_read_at ON ops.share_read (at);
COMMENT ON TABLE ops.share_read IS '共享读取留痕：哪个部门、哪个账号、何时、读了哪个视图';

-- Called by every shared view, once per query, before its first row. Readers have no right on schema ops: they reach it
-- through the views only. A sequence is not rolled back with its transaction, so a gap in read_no is a read that was.
CREATE FUNCTION ops.note_read(view_read text) RETURNS boolean
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  who name := coalesce(nullif(current_setting('role', true), 'none'), session_user);
  reader text;
BEGIN
  IF current_setting('transaction_read_only')::boolean THEN
    RAISE EXCEPTION '共享数据的读取须留痕，只读事务中无法记录，未读取任何数据'
      USING ERRCODE = 'read_only_sql_transaction', HINT = '请在普通（可写）事务中查询';
  END IF;
  SELECT r.department_id INTO reader
  FROM ops.share_role r JOIN pg_roles w ON w.rolname = who AND NOT w.rolsuper
  WHERE pg_has_role(who, r.role, 'USAGE') AND has_table_privilege(r.role, format('share.%I', view_read), 'SELECT')
  ORDER BY r.department_id LIMIT 1;
  INSERT INTO ops.share_read (department_id, read_no, view, login, at) VALUES
    (reader, CASE WHEN reader IS NOT NULL THEN nextval(format('ops.%I', 'share_reads_' || reader)::regclass) END,
     view_read, session_user, clock_timestamp());
  RETURN true;
END $$;
