#!/bin/sh
# Runs govulncheck. Its database is on the internet: where that cannot be reached, nothing was checked, and this says so
# instead of failing, so that work goes on without a network. What it finds is a failure.
set -u

out=$(go tool -modfile=tools/go.mod govulncheck ./... 2>&1)
code=$?
echo "$out"
case "$out" in
*"fetching vulnerabilities"*)
	echo "govulncheck: NOT CHECKED: the vulnerability database cannot be reached from here"
	exit 0
	;;
esac
exit $code
