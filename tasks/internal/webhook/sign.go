// Package webhook signs requests as Standard Webhooks asks (https://www.standardwebhooks.com), symmetric scheme v1.
package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"
)

const (
	prefix = "whsec_"
	minKey = 24 // bytes, both from the specification
	maxKey = 64
)

// The headers that carry a signature.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

// ErrSecret is all that is said of a bad secret: its text must not be repeated.
var ErrSecret = errors.New(`must be "whsec_" followed by the base64 of 24 to 64 bytes`)

// Key is the decoded signing secret.
type Key []byte

// ParseSecret decodes "whsec_<base64>".
func ParseSecret(secret string) (Key, error) {
	text, ok := strings.CutPrefix(secret, prefix)
	if !ok || strings.ContainsAny(text, "\r\n") { // which the decoder would skip
		return nil, ErrSecret
	}
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(key) < minKey || len(key) > maxKey {
		return nil, ErrSecret
	}
	return key, nil
}

// Sign is the value of the header webhook-signature for one message. The receiver computes the same over the header's id,
// the header's timestamp (whole seconds since 1970) and the bytes of the body.
func (k Key) Sign(id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, k)
	mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
