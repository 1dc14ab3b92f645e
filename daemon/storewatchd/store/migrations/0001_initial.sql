-- Everything that ever happened. Every table has the node: many appliances may share one server.

CREATE TABLE alert (
    id text COLLATE "C" PRIMARY KEY,
    node text NOT NULL,
    version integer NOT NULL,
    rule text NOT NULL,
    severity text NOT NULL,
    source text NOT NULL,
    state text NOT NULL,
    acknowledged boolean NOT NULL,
    resource_type text NOT NULL,
    resource_id text NOT NULL,
    labels jsonb NOT NULL,
    title text NOT NULL,
    first_seen timestamptz(3) NOT NULL,
    last_seen timestamptz(3) NOT NULL,
    resolved_at timestamptz(3),
    body jsonb NOT NULL
);
CREATE INDEX alert_newest ON alert (node, first_seen DESC, id DESC);
CREATE INDEX alert_open ON alert (node, first_seen DESC, id DESC) WHERE state <> 'resolved';
CREATE INDEX alert_by_severity ON alert (node, severity, first_seen DESC, id DESC);
CREATE INDEX alert_by_resource ON alert (node, resource_type, resource_id, first_seen DESC);

CREATE TABLE alert_event (
    node text NOT NULL,
    epoch text NOT NULL,
    seq bigint NOT NULL,
    time timestamptz(3) NOT NULL,
    alert_id text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    version integer NOT NULL,
    body jsonb NOT NULL,
    reason jsonb NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (node, epoch, seq)
);
CREATE INDEX alert_event_of ON alert_event (alert_id, seq);

CREATE TABLE task (
    id text COLLATE "C" NOT NULL,
    node text NOT NULL,
    version integer NOT NULL,
    name text NOT NULL,
    type text NOT NULL,
    state text NOT NULL,
    first_seen timestamptz(3) NOT NULL,
    started_at timestamptz(3),
    finished_at timestamptz(3),
    body jsonb NOT NULL,
    PRIMARY KEY (node, id)
);
CREATE INDEX task_newest ON task (node, first_seen DESC, id DESC);
CREATE INDEX task_by_name ON task (node, name, first_seen DESC, id DESC);

CREATE TABLE event (
    node text NOT NULL,
    epoch text NOT NULL,
    seq bigint NOT NULL,
    time timestamptz(3) NOT NULL,
    type text NOT NULL,
    kind text NOT NULL,
    data jsonb NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (node, epoch, seq)
);

CREATE TABLE audit (
    node text NOT NULL,
    epoch text NOT NULL,
    seq bigint NOT NULL,
    time timestamptz(3) NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    outcome text NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (node, epoch, seq)
);

-- What is true on a node and cannot be measured again, to rebuild a lost journal from.
CREATE TABLE state (
    node text NOT NULL,
    kind text NOT NULL,
    key text NOT NULL,
    seq bigint NOT NULL,
    value jsonb,
    PRIMARY KEY (node, kind, key)
);

-- How far each node has been drained; moved in the same transaction as what it stands for.
CREATE TABLE drain_cursor (
    node text PRIMARY KEY,
    epoch text NOT NULL,
    seq bigint NOT NULL,
    confirmed_at timestamptz(3) NOT NULL DEFAULT now()
);
