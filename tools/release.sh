#!/bin/sh
# Builds a release into dist/: the three programs for each platform, and SHA256SUMS. The version is that of the tag on
# the current commit; without a tag, or with changes that are not committed, there is no release.
set -eu
cd "$(dirname "$0")/.."
version=$(git describe --tags --exact-match 2>/dev/null) || {
	echo "release: the current commit has no tag" >&2
	exit 1
}
[ -z "$(git status --porcelain)" ] || {
	echo "release: there are changes that are not committed" >&2
	exit 1
}
rm -rf dist
for platform in linux/amd64 linux/arm64 darwin/arm64; do
	os=${platform%/*} arch=${platform#*/}
	out=dist/waybill-$version-$os-$arch
	for program in api worker waybill; do
		tags=nomsgpack
		[ "$program" = waybill ] || tags=nomsgpack,nosqlite # SQLite is the ledger of waybill dev only
		CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -tags "$tags" \
			-ldflags "-s -w -X github.com/waybill/waybill/internal/app.version=$version" -o "$out/$program" "./cmd/$program"
	done
	cp LICENSE README.md CHANGELOG.md .env.example "$out/"
	tar -C dist -czf "$out.tar.gz" "$(basename "$out")"
	rm -r "$out"
done
cd dist
sha256sum ./*.tar.gz | tee SHA256SUMS
echo "images: docker build -f Dockerfile.api -t REGISTRY/waybill-api:$version . and Dockerfile.worker alike (docs/deployment.md)"
