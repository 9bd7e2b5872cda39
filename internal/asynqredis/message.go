package asynqredis

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of asynq's message (its internal/proto/asynq.proto).
const (
	messageID    = 3
	messageQueue = 4
)

// messageTexts are those that must be valid UTF-8, or asynq refuses the message.
var messageTexts = map[protowire.Number]bool{1: true, messageID: true, messageQueue: true, 7: true, 10: true, 14: true}

// readable reports whether asynq can decode a message, and whether it is that of the task. asynq
// does not export its decoder.
func readable(message, id, queue string) bool {
	b := []byte(message)
	var gotID, gotQueue string
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(field, kind, b); n < 0 {
				return false
			}
			b = b[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(b)
		if n < 0 || messageTexts[field] && !utf8.Valid(value) {
			return false
		}
		switch field {
		case messageID:
			gotID = string(value)
		case messageQueue:
			gotQueue = string(value)
		}
		b = b[n:]
	}
	return gotID == id && gotQueue == queue
}
