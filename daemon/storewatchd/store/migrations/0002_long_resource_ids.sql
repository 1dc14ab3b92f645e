-- A row of an index holds 2704 bytes at most; the id of a resource may be longer.

DROP INDEX alert_by_resource;
CREATE INDEX alert_by_resource
    ON alert (node, resource_type, left(resource_id, 200), first_seen DESC);
