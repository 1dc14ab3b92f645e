-- Numbers tell earlier from later only within one journal: a new one may begin below the old one's.

ALTER TABLE state ADD COLUMN epoch text NOT NULL DEFAULT '';
