-- registry.db as it was before forms were counted (`PRAGMA user_version` is 0).
PRAGMA user_version = 0;
CREATE TABLE agents (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO agents VALUES ('named', '{"generation":3,"serving":{"digest":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","generation":3,"settings":"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","version":"0.1.0","capabilities":[],"since":{"secs_since_epoch":1767225600,"nanos_since_epoch":5}},"previous":[],"pending":null,"blocked":[],"approved":["system"],"registered":null}');
INSERT INTO agents VALUES ('guest', '{"generation":1,"serving":null,"previous":[],"pending":null,"blocked":[],"approved":[],"registered":"{\"component\":\"/srv/old/data/components/cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc\",\"name\":\"Guest\"}"}');
INSERT INTO agents VALUES ('odd', 'no record');
