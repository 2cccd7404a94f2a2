#!/usr/bin/env bash
# run.sh [prepare|serve] - runs the forge for tests, for `make run`, and as the entrypoint of its image.
#
#   prepare   makes the database and the first administrator, where they are not there yet, and stops
#   serve     (the default) the same, and then becomes the forge itself
#
# Settings, all by environment:
#   FORGE_DATA            folder of everything that it keeps; made if absent (default /data)
#   FORGE_HOME            folder with `gitea` and `share/` (default: the built peer)
#   FORGE_HTTP_ADDR, FORGE_HTTP_PORT   where it listens (127.0.0.1, 3000). Not FORGE_PORT: Kubernetes sets that beside a Service `forge`
#   FORGE_ROOT_URL        its public URL (default http://ADDRESS:PORT/)
#   FORGE_ADMIN           name of the first administrator (forge-admin)
#   FORGE_ADMIN_PASSWORD  its password. Where none is given, a random one is made and kept in FORGE_DATA/admin-password
#   FORGE_INI             more lines for app.ini
set -euo pipefail
umask 077
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=${FORGE_HOME:-$("$here/../get.sh" forge)}
data=${FORGE_DATA:-/data}
address=${FORGE_HTTP_ADDR:-127.0.0.1}
port=${FORGE_HTTP_PORT:-3000}
admin=${FORGE_ADMIN:-forge-admin}
ini=$data/app.ini
mkdir -p "$data/secrets" "$data/tmp"
export GITEA_WORK_DIR=$data HOME=$data TMPDIR=$data/tmp

# A secret is made once and kept, or every restart would end all tokens.
secret() {
  [ -s "$data/secrets/$1" ] || "$home/gitea" generate secret "$2" >"$data/secrets/$1"
  printf '%s' "$(<"$data/secrets/$1")"
}

# What is off needs the network or a browser's assets. The cheap password hash is for speed: this forge keeps nobody's real password.
settings() {
  cat <<END
APP_NAME = Forge for tests
RUN_MODE = prod
WORK_PATH = $data
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true

[server]
PROTOCOL = http
HTTP_ADDR = $address
HTTP_PORT = $port
ROOT_URL = ${FORGE_ROOT_URL:-http://$address:$port/}
LOCAL_ROOT_URL = http://${address/#0.0.0.0/127.0.0.1}:$port/
STATIC_ROOT_PATH = $home/share
OFFLINE_MODE = true
DISABLE_SSH = true
LFS_START_SERVER = false

[database]
DB_TYPE = sqlite3
PATH = $data/forge.db
SQLITE_JOURNAL_MODE = WAL

[repository]
ROOT = $data/repositories
DEFAULT_BRANCH = main

[security]
INSTALL_LOCK = true
SECRET_KEY = $(secret secret-key SECRET_KEY)
INTERNAL_TOKEN = $(secret internal-token INTERNAL_TOKEN)
PASSWORD_HASH_ALGO = pbkdf2\$1000\$50
DISABLE_QUERY_AUTH_TOKEN = true

[oauth2]
JWT_SECRET = $(secret jwt-secret JWT_SECRET)
INVALIDATE_REFRESH_TOKENS = true

[session]
PROVIDER = memory

[service]
DISABLE_REGISTRATION = true

[mailer]
ENABLED = false

[indexer]
ISSUE_INDEXER_TYPE = db
REPO_INDEXER_ENABLED = false

[actions]
ENABLED = true

[cron]
ENABLED = false

[cron.update_checker]
ENABLED = false

[log]
MODE = console
LEVEL = Warn

${FORGE_INI:-}
END
}
settings >"$ini"

if [ ! -e "$data/prepared" ]; then
  "$home/gitea" --config "$ini" migrate >"$data/migrate.log" 2>&1 || { tail -n 20 "$data/migrate.log" >&2; exit 1; }
  create=("$home/gitea" --config "$ini" admin user create --admin --username "$admin" --email "$admin@forge.test" --must-change-password=false)
  if [ -n "${FORGE_ADMIN_PASSWORD:-}" ]; then
    "${create[@]}" --password "$FORGE_ADMIN_PASSWORD" >/dev/null
    printf '%s' "$FORGE_ADMIN_PASSWORD" >"$data/admin-password"
  else
    "${create[@]}" --random-password --random-password-length 24 | sed -n "s/^generated random password is '\(.*\)'$/\1/p" | tr -d '\n' >"$data/admin-password"
  fi
  [ -s "$data/admin-password" ]
  : >"$data/prepared"
fi
[ "${1:-serve}" = serve ] || exit 0
exec "$home/gitea" --config "$ini" web
