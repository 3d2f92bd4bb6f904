-- The ledger of the first node, as it made it.

CREATE TABLE series (
    id INTEGER NOT NULL,
    study_instance_uid VARCHAR(64) NOT NULL,
    series_instance_uid VARCHAR(64) NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (series_instance_uid, study_instance_uid)
);

CREATE TABLE revision (
    id INTEGER NOT NULL,
    series_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    state VARCHAR(16) NOT NULL,
    reason VARCHAR(64),
    detail TEXT,
    warnings JSON NOT NULL,
    maxima JSON,
    attempts INTEGER NOT NULL,
    arrivals INTEGER NOT NULL,
    last_instance_at DOUBLE NOT NULL,
    released_at DOUBLE,
    updated_at DOUBLE NOT NULL,
    due_at DOUBLE,
    PRIMARY KEY (id),
    UNIQUE (series_id, number),
    FOREIGN KEY(series_id) REFERENCES series (id)
);

CREATE INDEX revision_due ON revision (due_at);

CREATE INDEX revision_updated ON revision (updated_at);

CREATE TABLE instance (
    id INTEGER NOT NULL,
    series_id INTEGER NOT NULL,
    sop_instance_uid VARCHAR(64) NOT NULL,
    sop_class_uid VARCHAR(64) NOT NULL,
    digest VARCHAR(64) NOT NULL,
    path TEXT NOT NULL,
    sender VARCHAR(16) NOT NULL,
    received_at DOUBLE NOT NULL,
    from_revision INTEGER NOT NULL,
    to_revision INTEGER,
    PRIMARY KEY (id),
    FOREIGN KEY(series_id) REFERENCES series (id)
);

CREATE INDEX instance_of_series ON instance (series_id, sop_instance_uid);

CREATE TABLE event (
    id INTEGER NOT NULL,
    revision_id INTEGER NOT NULL,
    at DOUBLE NOT NULL,
    state VARCHAR(16) NOT NULL,
    detail TEXT,
    PRIMARY KEY (id),
    FOREIGN KEY(revision_id) REFERENCES revision (id)
);

CREATE INDEX ix_event_revision_id ON event (revision_id);

CREATE TABLE result (
    id INTEGER NOT NULL,
    revision_id INTEGER NOT NULL,
    kind VARCHAR(16) NOT NULL,
    series_instance_uid VARCHAR(64) NOT NULL,
    sop_class_uid VARCHAR(64) NOT NULL,
    sop_instance_uid VARCHAR(64) NOT NULL,
    path TEXT NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(revision_id) REFERENCES revision (id)
);

CREATE INDEX ix_result_revision_id ON result (revision_id);

CREATE TABLE delivery (
    id INTEGER NOT NULL,
    revision_id INTEGER NOT NULL,
    result_id INTEGER NOT NULL,
    destination VARCHAR(64) NOT NULL,
    state VARCHAR(16) NOT NULL,
    attempts INTEGER NOT NULL,
    first_tried_at DOUBLE,
    next_try_at DOUBLE,
    detail TEXT,
    PRIMARY KEY (id),
    UNIQUE (result_id, destination),
    FOREIGN KEY(revision_id) REFERENCES revision (id),
    FOREIGN KEY(result_id) REFERENCES result (id)
);

CREATE INDEX delivery_of_revision ON delivery (revision_id, destination);

CREATE INDEX delivery_due ON delivery (next_try_at);
