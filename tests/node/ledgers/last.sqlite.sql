-- The ledger of the last node before revisions, as it made it.

CREATE TABLE series (
    id INTEGER NOT NULL,
    study_instance_uid VARCHAR(64) NOT NULL,
    series_instance_uid VARCHAR(64) NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (series_instance_uid, study_instance_uid)
);

CREATE INDEX series_of_study ON series (study_instance_uid);

CREATE TABLE destination (
    name VARCHAR(64) NOT NULL,
    holder VARCHAR(16),
    held_until DOUBLE,
    failures INTEGER NOT NULL,
    rests_until DOUBLE,
    detail TEXT,
    PRIMARY KEY (name)
);

CREATE TABLE commitment (
    id INTEGER NOT NULL,
    destination VARCHAR(64) NOT NULL,
    state VARCHAR(16) NOT NULL,
    attempts INTEGER NOT NULL,
    since DOUBLE NOT NULL,
    due_at DOUBLE,
    detail TEXT,
    PRIMARY KEY (id)
);

CREATE INDEX commitment_due ON commitment (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE owed_report (
    id INTEGER NOT NULL,
    requestor VARCHAR(16) NOT NULL,
    transaction_uid VARCHAR(64) NOT NULL,
    objects JSON NOT NULL,
    state VARCHAR(16) NOT NULL,
    attempts INTEGER NOT NULL,
    since DOUBLE NOT NULL,
    due_at DOUBLE,
    detail TEXT,
    PRIMARY KEY (id),
    UNIQUE (requestor, transaction_uid)
);

CREATE INDEX owed_report_due ON owed_report (due_at) WHERE due_at IS NOT NULL;

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
    claims INTEGER NOT NULL,
    arrivals INTEGER NOT NULL,
    last_instance_at DOUBLE NOT NULL,
    released_at DOUBLE,
    updated_at DOUBLE NOT NULL,
    due_at DOUBLE,
    PRIMARY KEY (id),
    UNIQUE (series_id, number),
    FOREIGN KEY(series_id) REFERENCES series (id)
);

CREATE INDEX revision_updated ON revision (updated_at);

CREATE INDEX revision_due ON revision (due_at) WHERE due_at IS NOT NULL;

CREATE INDEX revision_failed ON revision (id) WHERE state = 'failed';

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

CREATE INDEX instance_by_uid ON instance (sop_instance_uid);

CREATE INDEX instance_of_series ON instance (series_id, sop_instance_uid);

CREATE TABLE commitment_transaction (
    transaction_uid VARCHAR(64) NOT NULL,
    commitment_id INTEGER NOT NULL,
    PRIMARY KEY (transaction_uid),
    FOREIGN KEY(commitment_id) REFERENCES commitment (id)
);

CREATE INDEX ix_commitment_transaction_commitment_id ON commitment_transaction (commitment_id);

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

CREATE INDEX delivery_due ON delivery (next_try_at) WHERE next_try_at IS NOT NULL;

CREATE INDEX delivery_of_revision ON delivery (revision_id, destination);

CREATE INDEX delivery_sent ON delivery (destination, first_tried_at) WHERE state = 'sent';

CREATE INDEX delivery_waiting ON delivery (destination, id) WHERE state = 'pending';

CREATE INDEX delivery_given_up ON delivery (destination, revision_id) WHERE state = 'failed';

CREATE TABLE commitment_reference (
    delivery_id INTEGER NOT NULL,
    commitment_id INTEGER NOT NULL,
    PRIMARY KEY (delivery_id),
    FOREIGN KEY(delivery_id) REFERENCES delivery (id) ON DELETE CASCADE,
    FOREIGN KEY(commitment_id) REFERENCES commitment (id)
);

CREATE INDEX ix_commitment_reference_commitment_id ON commitment_reference (commitment_id);
