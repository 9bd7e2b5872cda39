//go:build !linux

package main

// limitMemory does nothing here: the fault that hoards is for Linux.
func limitMemory() error { return nil }
