package job

import "strconv"

// BatchMark stands between the Idempotency-Key of a batch and the number of a job in it. No key
// that a client sends may hold it, so that no other request has the key of such a job.
const BatchMark = " "

// BatchKey is the key that names one job of a batch which came with an Idempotency-Key.
func BatchKey(key string, i int) string { return key + BatchMark + strconv.Itoa(i) }
