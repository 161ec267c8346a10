#!/bin/sh
# Runs once, when the database is made: the role of workers, and that of gateways and pages, which keeps people too.
# They may read and write only what `veilig ledger prepare` and `veilig queue prepare` grant them.
set -eu
psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -v password="$WORKER_PASSWORD" <<'SQL'
CREATE ROLE worker LOGIN PASSWORD :'password' NOSUPERUSER NOBYPASSRLS;
CREATE ROLE server LOGIN PASSWORD :'password' NOSUPERUSER NOBYPASSRLS;
SQL
