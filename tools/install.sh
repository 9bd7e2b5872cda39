#!/bin/sh
# Installs what the tests need beside Go and is not there: servers, a C compiler for the race detector, make. On Debian and
# its kin, as root or with a sudo that asks nothing; elsewhere it says what to install.
set -eu

missing=
have() { command -v "$1" >/dev/null 2>&1; }
have make || missing="$missing make"
have cc || missing="$missing gcc libc6-dev"
have redis-server || missing="$missing redis-server"
{ have prometheus && have promtool; } || missing="$missing prometheus"
# Debian keeps it off the PATH of whoever is not root.
{ have pgbouncer || [ -x /usr/sbin/pgbouncer ]; } || missing="$missing pgbouncer"
# Debian keeps PostgreSQL's programs off PATH.
if ! { have postgres && have initdb; } && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
	missing="$missing postgresql"
fi
# What only some tests need is named by who calls.
for wanted in "$@"; do
	have "$wanted" || missing="$missing $wanted"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
	as_root="sudo -n"
	sudo -n true 2>/dev/null || as_root=no
fi
if ! have apt-get || [ "$as_root" = no ]; then
	echo "Missing:$missing (by their names in Debian)." >&2
	echo "Install them, on Debian or Ubuntu with: sudo apt-get update && sudo apt-get install -y$missing" >&2
	echo "on macOS with: xcode-select --install; brew install redis postgresql@17 pgbouncer prometheus" >&2
	exit 1
fi
echo "installing$missing"
$as_root apt-get update -q
# shellcheck disable=SC2086 # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
