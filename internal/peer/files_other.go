//go:build !unix

package peer

func withinOpenFiles(conns int) int { return conns }
