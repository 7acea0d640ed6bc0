"""The tables of the journal, and the steps from each older version to the present one."""

import sqlite3

from agentevo_memory.errors import SchemaVersionError

_INITIAL = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE event(
    seq INTEGER PRIMARY KEY, time REAL NOT NULL, operation INTEGER NOT NULL, op TEXT NOT NULL,
    record_id TEXT NOT NULL, actor TEXT NOT NULL, run_id TEXT NOT NULL,
    payload TEXT, nonce BLOB, digest BLOB NOT NULL, hash BLOB NOT NULL);
CREATE INDEX event_record ON event(record_id, seq);
CREATE TABLE record(
    rid INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, namespace TEXT NOT NULL, kind TEXT NOT NULL,
    status TEXT NOT NULL, key TEXT NOT NULL,
    environment TEXT NOT NULL, scope TEXT NOT NULL, session TEXT NOT NULL, sequence INTEGER NOT NULL,
    run_id TEXT NOT NULL, text_key BLOB, frame_key BLOB,
    gist TEXT NOT NULL, entities TEXT NOT NULL,
    valid_from REAL, valid_to REAL, expires_at REAL, doc TEXT NOT NULL);
CREATE INDEX record_text ON record(namespace, kind, text_key);
CREATE INDEX record_frame ON record(namespace, kind, frame_key);
CREATE INDEX record_key ON record(namespace, key) WHERE key <> '';
CREATE INDEX record_status ON record(namespace, status, kind);
CREATE TABLE edge(
    src TEXT NOT NULL, rel TEXT NOT NULL, dst TEXT NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY(src, rel, dst)) WITHOUT ROWID;
CREATE INDEX edge_back ON edge(dst, rel, src);
CREATE TABLE vector(
    rid INTEGER NOT NULL, slot INTEGER NOT NULL, model TEXT NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY(rid, slot, model));
CREATE TABLE idempotency(
    key BLOB PRIMARY KEY, operation INTEGER NOT NULL, result TEXT NOT NULL) WITHOUT ROWID;
"""

_NEIGHBOURS = """
CREATE INDEX record_session ON record(namespace, session, sequence) WHERE session <> '';
CREATE INDEX record_run ON record(run_id) WHERE run_id <> '';
"""

MIGRATIONS = (_INITIAL, _NEIGHBOURS)
"""Scripts that lead from version i to i + 1; a released one never changes."""

SCHEMA_VERSION = len(MIGRATIONS)


def migrate(db: sqlite3.Connection) -> None:
    """Bring the open database to the present schema, all or nothing.

    Raises:
        SchemaVersionError: If the database was written by a newer release.
    """
    version = db.execute("PRAGMA user_version").fetchone()[0]
    check_version(version)
    if version == SCHEMA_VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        for script in MIGRATIONS[version:]:
            for statement in script.split(";"):
                if statement.strip():
                    db.execute(statement)
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def check_version(version: int) -> None:
    """Raise SchemaVersionError unless this release can read schema `version`."""
    if version > SCHEMA_VERSION:
        raise SchemaVersionError(
            f"the store has schema {version}, this release reads up to {SCHEMA_VERSION}; "
            "update agentevo, or export with the newer release"
        )
