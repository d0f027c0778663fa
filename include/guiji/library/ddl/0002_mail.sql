-- guiji: which mail went to whom, and one frozen report per month and cut-off date.
CREATE TABLE ops.mail (
  mail_id       text NOT NULL,     -- Message-ID; the same on every attempt
  recipient     text NOT NULL,
  department_id text,              -- null: the centre
  subject       text NOT NULL,
  composed_at   timestamptz NOT NULL,
  attempts      int NOT NULL DEFAULT 0,
  accepted_at   timestamptz,       -- the mail server took it
  refused_at    timestamptz,       -- given up: refused for good, or refused too often
  last_error    text,
  PRIMARY KEY (mail_id, recipient)
);
CREATE INDEX mail_recipient ON ops.mail (recipient, accepted_at);
CREATE INDEX outbox_mail ON ops.outbox (mail_id);
COMMENT ON TABLE ops.mail IS '通知邮件投递记录';

-- the status on the 24th and the whole month are two issues of one month's report; neither replaces the other
ALTER TABLE ops.report DROP CONSTRAINT report_pkey;
ALTER TABLE ops.report ADD PRIMARY KEY (month, as_of);
