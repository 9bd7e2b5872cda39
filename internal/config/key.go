package config

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// MinKey is the least length of a signing key, in bytes.
const MinKey = 32

// Key signs or verifies access tokens.
type Key struct {
	ID     string // ^[A-Za-z0-9_-]{1,64}$: the token's kid
	Secret Secret // MinKey raw bytes or more
}

// Keys are in the order they were given, their ids unique.
type Keys []Key

// UnmarshalText reads "kid:base64,…". What cannot be read is named by its place only: it may be all
// secret.
func (k *Keys) UnmarshalText(text []byte) error {
	var keys Keys
	seen := make(map[string]bool)
	for i, item := range strings.Split(string(text), ",") {
		key, err := parseKey(strings.TrimSpace(item))
		if err != nil {
			return fmt.Errorf("key %d: %w", i+1, err)
		}
		if seen[key.ID] {
			return fmt.Errorf("key %d: its kid stands for an earlier key, too", i+1)
		}
		seen[key.ID] = true
		keys = append(keys, key)
	}
	*k = keys
	return nil
}

func parseKey(item string) (Key, error) {
	id, encoded, ok := strings.Cut(item, ":")
	if !ok || !regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`).MatchString(id) {
		return Key{}, errors.New("want KID:BASE64, KID of 1 to 64 letters, digits, _ and -")
	}
	raw, err := decode64(encoded)
	if err != nil {
		return Key{}, errors.New("want base64 after the colon")
	}
	if len(raw) < MinKey {
		return Key{}, fmt.Errorf("want %d bytes or more, got %d", MinKey, len(raw))
	}
	if isWeak(raw) {
		return Key{}, errors.New("want random bytes (openssl rand -base64 32), got a pattern that can be guessed")
	}
	return Key{ID: id, Secret: NewSecret(string(raw))}, nil
}

// isWeak finds keys that were not drawn at random: a few bytes over and over, one that is repeated,
// or counting up or down. Of 32 random bytes one in 10^27 has fewer than minDistinct values.
func isWeak(key []byte) bool {
	const minDistinct = 8
	distinct := make(map[byte]bool)
	counts := true
	for i, b := range key {
		distinct[b] = true
		counts = counts && (i < 2 || b-key[i-1] == key[1]-key[0])
	}
	if counts || len(distinct) < minDistinct {
		return true
	}
	for period := 1; period <= len(key)/2; period++ {
		if bytes.Equal(key[period:], key[:len(key)-period]) {
			return true
		}
	}
	return false
}

// decode64 reads the standard and the URL alphabet, padded or not.
func decode64(s string) ([]byte, error) {
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	return base64.RawStdEncoding.DecodeString(s)
}
