//go:build unix

package peer

import "syscall"

// spareFiles are the open files that a process needs beside the connections of its peers: those to
// PostgreSQL and Redis, logs.
const spareFiles = 512

// withinOpenFiles lowers a number of connections to what the limit on open files leaves room for: a
// server that cannot accept a connection cannot close another in its place.
func withinOpenFiles(conns int) int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return conns
	}
	files := uint64(limit.Cur) //nolint:unconvert // signed on some systems
	room := max(files, 2*spareFiles) - spareFiles
	if room < uint64(conns) {
		return int(room)
	}
	return conns
}
