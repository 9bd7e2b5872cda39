package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unsafe"

	"github.com/waybill/waybill/internal/job"
)

// The kinds of opaque tokens begin differently, so that people and secret scanners can tell them
// apart.
const (
	keyPrefix     = "wb_" // an API key
	refreshPrefix = "wr_"
	sessionPrefix = "ws_"

	secretLen = 52 // characters of base32 that hold 260 random bits
	idLen     = 32 // characters of hex
)

// digest is a SHA-256: all that is kept of a token. Its 260 random bits need neither salt nor a
// slow hash.
type digest = [sha256.Size]byte

func hashOf(s string) []byte {
	sum := digestOf(s)
	return sum[:]
}

// digestOf reads s where it is: []byte(s) would be a copy, and garbage, for each request.
func digestOf(s string) digest { return sha256.Sum256(unsafe.Slice(unsafe.StringData(s), len(s))) }

// newSecret is 260 random bits as text of A-Z and 2-7: nothing to quote, selected by a double
// click.
func newSecret() string { return rand.Text() + rand.Text() }

func isSecret(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'A' || c > 'Z') && (c < '2' || c > '7') {
			return false
		}
	}
	return len(s) == secretLen
}

// newKey is an API key: wb_, the key's id, a secret.
func newKey(id job.ID) (key, secret string) {
	secret = newSecret()
	return keyPrefix + strings.ReplaceAll(id.String(), "-", "") + secret, secret
}

// parseKey takes an API key apart. There is one spelling of each key, and no other is read.
func parseKey(key string) (id job.ID, secret string, ok bool) {
	rest, ok := strings.CutPrefix(key, keyPrefix)
	if !ok || len(rest) != idLen+secretLen || !isSecret(rest[idLen:]) {
		return job.ID{}, "", false
	}
	h := rest[:idLen]
	id, err := job.ParseID(h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:])
	return id, rest[idLen:], err == nil
}

// refreshToken has two secrets: one that all tokens of a family share and is looked up by, and one
// of its own. A token with a right first and a wrong second secret was valid once, since the first
// cannot be guessed.
type refreshToken struct{ family, own string }

func newRefresh() refreshToken            { return refreshToken{newSecret(), newSecret()} }
func (t refreshToken) next() refreshToken { return refreshToken{t.family, newSecret()} }
func (t refreshToken) String() string     { return refreshPrefix + t.family + t.own }
func (t refreshToken) keyHash() []byte    { return hashOf(t.family) }
func (t refreshToken) tokenHash() []byte  { return hashOf(t.String()) }
func parseRefresh(s string) (refreshToken, bool) {
	return splitRefresh(strings.CutPrefix(s, refreshPrefix))
}

func splitRefresh(rest string, ok bool) (refreshToken, bool) {
	if !ok || len(rest) != 2*secretLen || !isSecret(rest[:secretLen]) || !isSecret(rest[secretLen:]) {
		return refreshToken{}, false
	}
	return refreshToken{rest[:secretLen], rest[secretLen:]}, true
}

func newSessionToken() string { return sessionPrefix + newSecret() }

func isSessionToken(s string) bool {
	rest, ok := strings.CutPrefix(s, sessionPrefix)
	return ok && isSecret(rest)
}

// throttleName hides whose bucket it is: e-mails and addresses don't belong in Redis.
func throttleName(kind, whose string) string {
	return "waybill:throttle:" + kind + ":" + hex.EncodeToString(hashOf(kind + "\x00" + whose)[:16])
}
