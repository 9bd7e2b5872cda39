#!/usr/bin/env bash
# Renews internal/auth/common_passwords.txt from npm's @zxcvbn-ts/language-common (MIT licence), whose list of common
# passwords is kept up to date: lower case, those with the least length of a password or more, sorted by bytes.
#   tools/common-passwords.sh [VERSION]
set -euo pipefail
version=${1:-latest}
out=$(cd "$(dirname "$0")/.." && pwd)/internal/auth/common_passwords.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm pack --silent "@zxcvbn-ts/language-common@$version" >/dev/null
tar xzf zxcvbn-ts-language-common-*.tgz
OUT=$out node -e '
const all = require("./package/src/passwords.json").map(p => p.toLowerCase()).filter(p => [...p].length >= 8);
const sorted = [...new Set(all)].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
require("fs").writeFileSync(process.env.OUT, sorted.join("\n") + "\n");
console.log(sorted.length + " passwords of version " + require("./package/package.json").version);'
