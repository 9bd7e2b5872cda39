package auth

import (
	_ "embed" // the list of common passwords
	"strings"
	"unicode/utf8"

	"github.com/waybill/waybill/internal/job"
)

// What a password may be. It is kept exactly: neither trimmed nor normalised. Spaces and emoji are
// as good as anything.
const (
	MinPassword = 8    // characters
	MaxPassword = 1024 // bytes, so that a client cannot make the API hash a megabyte
)

// checkPassword is for passwords that are compared: whatever can be one.
func checkPassword(pointer, password string) error {
	switch {
	case password == "":
		return job.Invalid(pointer, "must not be empty")
	case len(password) > MaxPassword:
		return job.Invalid(pointer, "may have 1024 bytes")
	case !utf8.ValidString(password) || strings.ContainsRune(password, 0):
		return job.Invalid(pointer, "must be UTF-8 without NUL")
	}
	return nil
}

// checkNewPassword is for passwords that are set, for the account of email (in lower case).
func checkNewPassword(pointer, password, email string) error {
	if err := checkPassword(pointer, password); err != nil {
		return err
	}
	local, _, _ := strings.Cut(email, "@")
	switch lower := strings.ToLower(password); {
	case utf8.RuneCountInString(password) < MinPassword:
		return job.Invalid(pointer, "must have 8 characters")
	case lower == email || lower == local:
		return job.Invalid(pointer, "must not be the e-mail address or its first part")
	case isCommon(lower):
		return job.Invalid(pointer, "is one of the most common passwords, which are guessed first")
	}
	return nil
}

// commonPasswords has one password a line, in lower case, sorted by bytes;
// tools/common-passwords.sh renews it.
//
//go:embed common_passwords.txt
var commonPasswords string

// isCommon searches the list where it lies: it is needed only when a password is set, and costs no
// memory of its own.
func isCommon(lower string) bool {
	low, high := 0, len(commonPasswords)
	for low < high {
		begin := strings.LastIndexByte(commonPasswords[:(low+high)/2], '\n') + 1
		line, _, _ := strings.Cut(commonPasswords[begin:], "\n")
		switch strings.Compare(lower, line) {
		case 0:
			return true
		case -1:
			high = begin
		default:
			low = begin + len(line) + 1
		}
	}
	return false
}
