#!/bin/sh
# Generates clients from api/openapi.yaml with oapi-codegen, ogen and openapi-typescript, compiles them, and lets each
# submit a job to a running Waybill and read it back. Nothing of what is generated is kept.
set -eu
cd "$(dirname "$0")"
spec=$PWD/../../api/openapi.yaml
work=$(mktemp -d)
dev=
trap '[ -z "$dev" ] || { kill "$dev" && wait "$dev" || true; }; rm -rf "$work" generated' EXIT

mkdir -p generated/oapicodegen generated/ogen
go tool oapi-codegen -generate types,client -package waybill -o generated/oapicodegen/client.go "$spec"
go tool ogen -loglevel error -target generated/ogen -package waybill -clean "$spec"
go build -o "$work/" ./oapicodegen ./ogen

npm ci --silent --no-audit --no-fund
npx openapi-typescript "$spec" -o generated/waybill.d.ts
npx tsc -p . --outDir "$work/typescript"

go build -C ../.. -o "$work/waybill" ./cmd/waybill
"$work/waybill" dev --addr 127.0.0.1:0 --data "$work/data" >"$work/dev.log" 2>&1 &
dev=$!
tries=0
until [ -s "$work/data/url" ] && [ -s "$work/data/key" ]; do
	tries=$((tries + 1))
	if [ "$tries" -gt 300 ]; then
		cat "$work/dev.log" >&2
		exit 1
	fi
	sleep 0.2
done
WAYBILL_URL=$(cat "$work/data/url") WAYBILL_API_KEY=$(cat "$work/data/key")
export WAYBILL_URL WAYBILL_API_KEY
"$work/oapicodegen"
"$work/ogen"
ln -s "$PWD/node_modules" "$work/node_modules"
node "$work/typescript/submit.js"
