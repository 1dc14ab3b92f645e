-- What a node consists of: each version of each object, and from when to when it was so. A node of
-- an older version writes none, and needs none.

CREATE TABLE object (
    node text NOT NULL,
    epoch text NOT NULL,
    seq bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    change text NOT NULL,
    other text NOT NULL,
    here boolean NOT NULL,
    valid_from timestamptz(3) NOT NULL,
    valid_to timestamptz(3),
    body jsonb NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (node, epoch, seq)
);
CREATE INDEX object_of ON object (node, kind, id, seq DESC);
CREATE INDEX object_now ON object (node, kind, id) WHERE valid_to IS NULL;
