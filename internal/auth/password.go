package auth

import (
	"strings"
	"unicode/utf8"

	"github.com/waybill/waybill/internal/job"
)

// What a password may be. It is kept exactly: neither trimmed nor normalised. Spaces and emoji are as good as anything.
const (
	MinPassword = 8    // characters
	MaxPassword = 1024 // bytes, so that nobody makes us hash a megabyte
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

// checkNewPassword is for passwords that are set.
func checkNewPassword(pointer, password string) error {
	if err := checkPassword(pointer, password); err != nil {
		return err
	}
	if utf8.RuneCountInString(password) < MinPassword {
		return job.Invalid(pointer, "must have 8 characters")
	}
	return nil
}
