-- The receiver's slot is there from the first moment on: no WAL is written that it could miss. The standby
-- makes its own when it takes its base backup.
SELECT pg_create_physical_replication_slot('wal_capturer', true);
