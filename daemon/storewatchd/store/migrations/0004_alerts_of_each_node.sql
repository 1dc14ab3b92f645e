-- The id of an alert is one node's own: a node that was copied goes on with the ids of its model,
-- and the two of them must not share a row.
--
-- A node of an older version looks for a conflict by the id alone, which no index answers any more.
-- To it the server cannot take alerts: it keeps its records, loses none, and goes on from there
-- once it has this version too.

ALTER TABLE alert DROP CONSTRAINT alert_pkey, ADD PRIMARY KEY (node, id);

-- Rows that were shared become each node's own again, as its transitions tell it.
INSERT INTO alert
    (id, node, version, rule, severity, source, state, acknowledged, resource_type, resource_id,
     labels, title, first_seen, last_seen, resolved_at, body)
SELECT alert_id, node, version, b->>'rule', b->>'severity', b->>'source',
       b->>'state', (b->>'acknowledged')::boolean, b->>'resource_type', b->>'resource_id',
       b->'labels', b->>'title', (b->>'first_seen')::timestamptz, (b->>'last_seen')::timestamptz,
       (b->>'resolved_at')::timestamptz, b
FROM (
    SELECT DISTINCT ON (node, alert_id) node, alert_id, version, body AS b
    FROM alert_event
    WHERE (SELECT count(*) FROM drain_cursor) > 1
      AND alert_id IN (
        SELECT other.alert_id FROM alert_event AS other JOIN alert ON id = other.alert_id
        WHERE alert.node <> other.node
    )
    ORDER BY node, alert_id, version DESC
) AS newest
ON CONFLICT (node, id) DO UPDATE SET
    version = excluded.version, severity = excluded.severity, source = excluded.source,
    state = excluded.state, acknowledged = excluded.acknowledged,
    resource_type = excluded.resource_type, resource_id = excluded.resource_id,
    labels = excluded.labels, title = excluded.title, last_seen = excluded.last_seen,
    resolved_at = excluded.resolved_at, body = excluded.body;
