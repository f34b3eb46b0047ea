-- What SQLite and PostgreSQL both understand. Times are RFC 3339 in UTC with microseconds, so that
-- they sort as texts; flags are 0 and 1.

-- One row. Every change takes the next number in its first statement, which lets changes happen one
-- after the other on all servers of one database, and tells readers that something has changed.
CREATE TABLE changes (
    last BIGINT NOT NULL,
    -- The last number that was given to a release.
    releases BIGINT NOT NULL
);
INSERT INTO changes (last, releases) VALUES (0, 0);

CREATE TABLE apps (
    -- 32 hexadecimal digits: how zghmvp's clients name an app.
    id TEXT PRIMARY KEY,
    -- The app of launcher.toml.
    key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    enable_time TEXT,
    disable_time TEXT,
    created TEXT NOT NULL
);

CREATE TABLE releases (
    id BIGINT PRIMARY KEY,
    app TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    version TEXT NOT NULL,
    entry_point TEXT NOT NULL,
    notes TEXT NOT NULL,
    critical_below TEXT,
    created TEXT NOT NULL,
    -- May it become current?
    enabled BIGINT NOT NULL,
    -- Never to be installed again.
    withdrawn BIGINT NOT NULL,
    UNIQUE (app, version)
);

CREATE TABLE packages (
    release BIGINT NOT NULL REFERENCES releases (id) ON DELETE CASCADE,
    target TEXT NOT NULL,
    name TEXT NOT NULL,
    size BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    -- Where it lies in the store, and below /media/.
    place TEXT NOT NULL UNIQUE,
    downloads BIGINT NOT NULL,
    PRIMARY KEY (release, target)
);

-- The files of a release, each of which lies in the store under its digest.
CREATE TABLE files (
    release BIGINT NOT NULL REFERENCES releases (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size BIGINT NOT NULL,
    PRIMARY KEY (release, path)
);
CREATE INDEX files_by_digest ON files (sha256);

-- What is current: one row a channel, so that there are never two, and never none between two.
CREATE TABLE channels (
    app TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    release BIGINT REFERENCES releases (id),
    -- Per cent of installations.
    rollout BIGINT NOT NULL,
    -- The number of the last index, which only goes up.
    seq BIGINT NOT NULL,
    PRIMARY KEY (app, name)
);

CREATE TABLE activations (
    app TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    channel TEXT NOT NULL,
    release BIGINT NOT NULL REFERENCES releases (id) ON DELETE CASCADE,
    at TEXT NOT NULL
);

-- Signed documents, as they came.
CREATE TABLE documents (
    app TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    content TEXT NOT NULL,
    changed TEXT NOT NULL,
    PRIMARY KEY (app, name)
);

CREATE TABLE tokens (
    name TEXT PRIMARY KEY,
    -- SHA-256; the token itself is nowhere.
    digest TEXT NOT NULL UNIQUE,
    -- read, publish or admin.
    role TEXT NOT NULL,
    created TEXT NOT NULL,
    revoked TEXT
);

CREATE TABLE sessions (
    digest TEXT PRIMARY KEY,
    token TEXT NOT NULL REFERENCES tokens (name) ON DELETE CASCADE,
    csrf TEXT NOT NULL,
    expires TEXT NOT NULL
);

CREATE TABLE audit (
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    app TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX audit_by_time ON audit (at);
