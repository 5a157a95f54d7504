#!/bin/sh
# PostgreSQL with a database that everyone on the project's own network may use.
set -eu
data=/var/lib/postgresql/shop
bin=$(echo /usr/lib/postgresql/*/bin)
if [ ! -s "$data/PG_VERSION" ]; then
  "$bin/initdb" -D "$data" -A trust -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null
  echo "host all all samenet trust" >> "$data/pg_hba.conf"
fi
exec "$bin/postgres" -D "$data" -c listen_addresses='*' -c unix_socket_directories=/tmp -c shared_buffers=16MB -c max_connections=60
