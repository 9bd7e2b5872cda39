package builtin

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// encodedWord begins an encoded word of a header (RFC 2047).
const encodedWord = "=?"

// maxWordBytes is how much text one encoded word holds: with its frame and in base64, 75 characters
// at most.
const maxWordBytes = 45

// encodeWords writes text as encoded words whatever it holds, so that text which looks like an
// encoded word is shown as it is.
func encodeWords(text string) string {
	var words []string
	for len(text) > 0 {
		n := min(maxWordBytes, len(text))
		for n < len(text) && !utf8.RuneStart(text[n]) {
			n--
		}
		words = append(words, encodedWord+"utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(text[:n]))+"?=")
		text = text[n:]
	}
	return strings.Join(words, "\r\n ")
}
