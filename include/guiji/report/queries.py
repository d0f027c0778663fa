"""What the month is computed from: every query by name. The report prints them, so that any number can be traced.

Parameters: ``start`` and ``stop`` bound the month (half-open, cut at the cut-off), ``cutoff`` is the moment after
which nothing counts, ``snapshots`` the resources whose deliveries are whole. A published batch belongs to the month
in which it was published, any other to the month in which it began.
"""

from __future__ import annotations

IN_MONTH = """in_month AS (
  SELECT b.*, coalesce(b.published_at, b.started_at) AS moment FROM ops.batch b
  WHERE coalesce(b.published_at, b.started_at) >= %(start)s AND coalesce(b.published_at, b.started_at) < %(stop)s)"""

_QUERIES: dict[str, tuple[str, str]] = {
    "serving": (
        "截至统计时点，各资源累计入库批次数与在用数据行数（新增减去消失）",
        """SELECT resource_id, count(*) AS batches, sum(rows_new - rows_deleted)::bigint AS serving,
       max(published_at) AS last_published_at
FROM ops.batch WHERE status = 'published' AND published_at < %(cutoff)s GROUP BY resource_id""",
    ),
    "windows": (
        "本月到期的交付周期；是否按期以入库时间与约定期限比较，截至统计时点未入库的为未交付",
        """SELECT resource_id, window_start, window_end, due_at, responsible, calendar,
       CASE WHEN met_at < %(cutoff)s THEN met_at END AS met_at,
       CASE WHEN met_at <= due_at THEN 'met' WHEN met_at < %(cutoff)s THEN 'late' ELSE 'missed' END AS state
FROM ops.delivery_window WHERE due_at >= %(start)s AND due_at < %(stop)s ORDER BY resource_id, window_start""",
    ),
    "batches": (
        "本月各资源批次数与行数",
        """WITH @in_month
SELECT resource_id, count(*) AS batches,
       count(*) FILTER (WHERE status = 'published') AS published, count(*) FILTER (WHERE status = 'held') AS held,
       count(*) FILTER (WHERE status = 'refused') AS refused, count(*) FILTER (WHERE status = 'failed') AS failed,
       sum(rows_read)::bigint AS rows_read, sum(rows_rejected)::bigint AS rows_rejected,
       sum(rows_duplicate)::bigint AS rows_duplicate, sum(rows_new)::bigint AS rows_new,
       sum(rows_changed)::bigint AS rows_changed, sum(rows_deleted)::bigint AS rows_deleted,
       sum(rows_held) FILTER (WHERE status = 'held')::bigint AS rows_held
FROM in_month WHERE status NOT IN ('staged', 'superseded') GROUP BY resource_id""",
    ),
    "passed": (
        "本月报送且通过全部强制规则的数据行，同一版本只计一次：全量资源为首批全部合格行加以后各批的新增与变更，"
        "增量资源为各批的新增、变更、晚到与删除标记；整批暂缓的，全量资源仅在当月没有入库批次时取最大一批，增量资源累计",
        """WITH @in_month, numbered AS (
  SELECT m.*, resource_id = ANY(%(snapshots)s) AS is_snapshot,
         row_number() OVER (PARTITION BY resource_id, status ORDER BY moment, batch_no) AS nth
  FROM in_month m WHERE status IN ('published', 'held'))
SELECT resource_id, count(*) AS batches,
       (CASE WHEN NOT bool_or(is_snapshot)
             THEN coalesce(sum(rows_new + rows_changed + rows_superseded + rows_tombstone)
                           FILTER (WHERE status = 'published'), 0)
                + coalesce(sum(rows_held) FILTER (WHERE status = 'held'), 0)
             WHEN bool_or(status = 'published')
             THEN sum(rows_new + rows_changed + CASE WHEN nth = 1 THEN rows_unchanged + rows_superseded + rows_tombstone
                                                     ELSE 0 END) FILTER (WHERE status = 'published')
             ELSE max(rows_held) END)::bigint AS passed
FROM numbered GROUP BY resource_id""",
    ),
    "rejected": (
        "本月报送而未通过强制规则的数据行，同一主键同一组规则只计一次（取单批最多的次数）；主键无法识别的，"
        "全量资源取单批最大值，增量资源逐批累计",
        """WITH @in_month, keyed AS (
  SELECT r.batch_id, r.resource_id, r.key_hmac,
         (SELECT array_agg(x ORDER BY x) FROM unnest(r.rules) AS x) AS rules, count(*) AS n
  FROM ops.rejected_row r JOIN in_month m USING (batch_id) WHERE r.key_hmac IS NOT NULL GROUP BY 1, 2, 3, 4),
versions AS (
  SELECT resource_id, sum(most)::bigint AS n
  FROM (SELECT resource_id, max(n) AS most FROM keyed GROUP BY resource_id, key_hmac, rules) x GROUP BY resource_id),
keyed_rows AS (SELECT batch_id, sum(n)::bigint AS n FROM keyed GROUP BY batch_id),
unkeyed AS (
  SELECT m.resource_id, m.rows_rejected - coalesce(k.n, 0) AS n
  FROM in_month m LEFT JOIN keyed_rows k USING (batch_id) WHERE m.rows_rejected > 0)
SELECT resource_id, sum(n)::bigint AS rejected FROM (
  SELECT resource_id, n FROM versions UNION ALL
  SELECT resource_id, CASE WHEN resource_id = ANY(%(snapshots)s) THEN max(n) ELSE sum(n) END
  FROM unkeyed GROUP BY resource_id) y
GROUP BY resource_id""",
    ),
    "reconciled": (
        "本月与前置机核对过的资源：核对次数，以及最后一次核对是否三方一致（前置机、来源层、各库）；未重新读取前置机的不计",
        """SELECT DISTINCT ON (resource_id) resource_id, agrees, count(*) OVER (PARTITION BY resource_id) AS comparisons
FROM ops.reconciliation
WHERE rows_front_end IS NOT NULL AND started_at >= %(start)s AND started_at < %(stop)s
ORDER BY resource_id, started_at DESC, reconciliation_id DESC""",
    ),
    "rules": (
        "本月入库与暂缓批次的规则校验结果（不含无法判定的），按资源与规则合计",
        """WITH @in_month
SELECT m.resource_id, r.rule_id, max(r.title) AS title, r.indicator, max(r.severity) AS severity,
       max(r.standard) AS standard, count(*) AS batches, sum(r.rows - r.unjudged)::bigint AS judged,
       sum(r.failed)::bigint AS failed, sum(r.unjudged)::bigint AS unjudged, sum(r.mended)::bigint AS mended
FROM in_month m CROSS JOIN LATERAL jsonb_to_recordset(m.rules) AS
  r(rule_id text, title text, indicator text, severity text, standard text, rows bigint, failed bigint,
    unjudged bigint, mended bigint)
WHERE m.status IN ('published', 'held') GROUP BY m.resource_id, r.rule_id, r.indicator""",
    ),
    "tickets": (
        "整改工单：本月到期的，以及截至统计时点未办结的",
        """SELECT ticket_id, department_id, resource_id, rule_id, opened_batch, rows_open, opened_at, due_at,
       CASE WHEN closed_at < %(cutoff)s THEN closed_at END AS closed_at,
       due_at >= %(start)s AND due_at < %(stop)s AS is_due,
       (SELECT r->>'title' FROM ops.batch b, jsonb_array_elements(b.rules) AS r
        WHERE b.batch_id = t.opened_batch AND r->>'rule_id' = t.rule_id LIMIT 1) AS title
FROM ops.ticket t
WHERE opened_at < %(cutoff)s AND ((due_at >= %(start)s AND due_at < %(stop)s) OR closed_at IS NULL OR closed_at >= %(cutoff)s)
ORDER BY due_at, ticket_id""",
    ),
    "days": (
        "本月每日批次数与行数（部门归集，不含上级回流与社会数据）",
        """WITH @in_month
SELECT (moment AT TIME ZONE 'Asia/Shanghai')::date::text AS day, count(*) AS batches,
       count(*) FILTER (WHERE status = 'published') AS published, sum(rows_read)::bigint AS rows_read,
       sum(rows_rejected)::bigint AS rows_rejected
FROM in_month WHERE status NOT IN ('staged', 'superseded') AND origin = 'department' GROUP BY 1 ORDER BY 1""",
    ),
    "ledger": (
        "本月批次清单（最多两万批）",
        """WITH @in_month
SELECT batch_id, resource_id, status, moment, window_start, window_end, rows_read, rows_rejected, rows_held,
       rows_duplicate, rows_superseded, rows_tombstone, rows_new, rows_changed, rows_unchanged, rows_deleted, cause
FROM in_month WHERE status NOT IN ('staged', 'superseded') ORDER BY moment, batch_no LIMIT 20000""",
    ),
    "conflicts": (
        "冻结时各库未消解的多源比对差异",
        "SELECT library, count(*) AS open FROM ops.conflict WHERE settled_at IS NULL GROUP BY library",
    ),
    "trend": (
        "以前各月冻结的指标（每月取最后一期）",
        """SELECT DISTINCT ON (month) month, as_of::text AS as_of, figures->'headline' AS headline
FROM ops.report WHERE month < %(month)s ORDER BY month DESC, as_of DESC LIMIT 11""",
    ),
}

QUERIES: dict[str, tuple[str, str]] = {
    name: (meaning, text.replace("@in_month", IN_MONTH)) for name, (meaning, text) in _QUERIES.items()
}
"""name -> (what it counts, SQL)"""
