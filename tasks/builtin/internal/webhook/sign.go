// Package webhook signs requests as Standard Webhooks asks (https://www.standardwebhooks.com),
// symmetric scheme v1.
package webhook

import (
	"crypto/hkdf"
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

// ParseSecrets decodes secrets with commas between, the newest first; none of an empty text.
func ParseSecrets(secrets string) ([]Key, error) {
	if secrets == "" {
		return nil, nil
	}
	var keys []Key
	for secret := range strings.SplitSeq(secrets, ",") {
		key, err := ParseSecret(strings.TrimSpace(secret))
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Secret is k as ParseSecret reads it.
func (k Key) Secret() string { return prefix + base64.StdEncoding.EncodeToString(k) }

// Owner derives the key of one owner of jobs (HKDF with SHA-256, RFC 5869, without a salt): who
// holds it learns nothing of k or of another owner's.
func (k Key) Owner(id string) Key {
	key, err := hkdf.Key(sha256.New, k, nil, "waybill webhook owner "+id, sha256.Size)
	if err != nil { // only where more is asked for than the hash can give
		panic(err)
	}
	return key
}

// OwnerKeys derives an owner's key from each of keys.
func OwnerKeys(keys []Key, id string) []Key {
	own := make([]Key, len(keys))
	for i, k := range keys {
		own[i] = k.Owner(id)
	}
	return own
}

// Sign is the value of the header webhook-signature for one message: a signature by each key, with
// spaces between. The receiver computes the same over the header's id, the header's timestamp
// (whole seconds since 1970) and the bytes of the body, and takes the message if one of them
// matches.
func Sign(keys []Key, id string, at time.Time, body []byte) string {
	signatures := make([]string, len(keys))
	for i, k := range keys {
		signatures[i] = k.Sign(id, at, body)
	}
	return strings.Join(signatures, " ")
}

// Sign is the signature of one message by k.
func (k Key) Sign(id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, k)
	mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
