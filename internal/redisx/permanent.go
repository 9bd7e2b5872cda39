package redisx

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrUnusable is why a process does not start: Redis answers, and waiting will not change what it
// says.
var ErrUnusable = errors.New("redis cannot be used (REDIS_URL)")

// permanentErrors are the errors of Redis that last until a setting is changed, and what they mean.
// All others (LOADING, READONLY, MASTERDOWN, CLUSTERDOWN, too many clients, a connection that is
// refused or times out) pass and are waited for.
var permanentErrors = []struct{ prefix, meaning string }{
	{"WRONGPASS", "the user or the password is wrong"},
	{"NOAUTH", "it wants a password, and the URL has none"},
	{"ERR invalid password", "the password is wrong"},
	{"ERR AUTH", "it has no password, and the URL names one"},
	{"ERR Client sent AUTH", "it has no password, and the URL names one"},
	{"NOPERM", "the user lacks a permission; docs/security.md has the least that is needed"},
	{
		"ERR The user executing the script can't run this command",
		"the user lacks a permission; docs/security.md has the least that is needed",
	},
	{"ERR DB index", "there is no database of that number"},
	{"ERR SELECT is not allowed in cluster mode", "a cluster has only the database 0"},
	{"MOVED", "it is part of a cluster: use redis+cluster://"},
	{"CROSSSLOT", "it is part of a cluster: use redis+cluster://"},
	{"ERR This instance has cluster support disabled", "it is no cluster: use redis://"},
	{"ERR No such master with that name", "the sentinels know no master of that name"},
	{"DENIED", "it is in protected mode"},
	{"ERR unknown command", "it lacks a command that is needed"},
}

// Permanent answers what an error of Redis means, where only a change of settings ends it; nil: it
// may pass.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	if meaning := transportMeaning(err); meaning != "" {
		return fmt.Errorf("%w: %s: %w", ErrUnusable, meaning, err)
	}
	text := err.Error()
	for _, l := range permanentErrors {
		if i := strings.Index(text, l.prefix); i == 0 || i > 0 && strings.HasSuffix(text[:i], " ") {
			return fmt.Errorf("%w: %s: %s", ErrUnusable, l.meaning, text[i:])
		}
	}
	return nil
}

// transportMeaning tells the errors of TLS and of a server that is no Redis.
func transportMeaning(err error) string {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	text := err.Error()
	switch {
	case errors.As(err, &unknown), strings.Contains(text, "certificate signed by unknown authority"):
		return "its certificate is signed by an authority that this machine does not know (SSL_CERT_FILE names one)"
	case errors.As(err, &host):
		return "its certificate is for another name"
	case errors.As(err, &invalid):
		return "its certificate is not valid"
	case errors.As(err, &record), strings.Contains(text, "first record does not look like a TLS handshake"):
		return "it does not speak TLS: use redis:// in place of rediss://"
	case errors.As(err, &alert), strings.Contains(text, "remote error: tls:"):
		return "it refuses the TLS handshake"
	case strings.Contains(text, "all sentinels specified") && strings.Contains(text, redis.Nil.Error()):
		return "the sentinels know no master of that name"
	case strings.Contains(text, "redis: can't parse"),
		strings.Contains(text, "redis: invalid reply"),
		strings.Contains(text, "redis: unexpected"):
		return "what answers there is no Redis"
	}
	return ""
}

// speaksTLS reports whether a server that closed a plain connection completes, or answers, a TLS
// handshake.
func speaksTLS(ctx context.Context, network, addr string) bool {
	//nolint:gosec // nothing is sent: only whether it speaks TLS is asked
	d := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: time.Second},
		Config:    &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12},
	}
	conn, err := d.DialContext(ctx, network, addr)
	if err == nil {
		_ = conn.Close()
		return true
	}
	var alert tls.AlertError
	return errors.As(err, &alert) || strings.Contains(err.Error(), "remote error: tls:")
}

// speaksPlainly reports whether a server answers a PING without TLS. Redis takes the beginning of a
// handshake for a command that has not ended, and waits.
func speaksPlainly(ctx context.Context, network, addr string) bool {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	first := make([]byte, 1)
	_, err = conn.Read(first)
	return err == nil && (first[0] == '+' || first[0] == '-')
}

// judgeError answers a permanentErrors error as such, and nil for one that may pass.
func judgeError(ctx context.Context, c redis.UniversalClient, err error) error {
	if refused := Permanent(err); refused != nil {
		return refused
	}
	single, ok := c.(*redis.Client)
	if !ok || err == nil || single.Options().Network != "tcp" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second) // ctx may have run out meanwhile
	defer cancel()
	o, text := single.Options(), err.Error()
	switch {
	case o.TLSConfig != nil && strings.Contains(text, "deadline exceeded") && speaksPlainly(ctx, o.Network, o.Addr),
		o.TLSConfig != nil && strings.Contains(text, "i/o timeout") && speaksPlainly(ctx, o.Network, o.Addr):
		return fmt.Errorf("%w: it does not speak TLS: use redis:// in place of rediss://", ErrUnusable)
	case o.TLSConfig == nil && (strings.Contains(text, "EOF") || strings.Contains(text, "connection reset")) &&
		speaksTLS(ctx, o.Network, o.Addr):
		return fmt.Errorf("%w: it speaks TLS: use rediss:// in place of redis://", ErrUnusable)
	}
	return nil
}
