package redisx

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/testenv"
)

// refused answers what a process is told that starts with the given URL.
func refused(t *testing.T, url string) error {
	t.Helper()
	return CheckSettings(t.Context(), connect(t, url), testenv.Logger(t))
}

func TestWhatOnlyAChangeOfSettingsEndsStopsTheStart(t *testing.T) {
	t.Parallel()
	open, guarded := testenv.Redis(t), testenv.Redis(t)
	admin := guarded.Client(t)
	acl := func(args ...any) {
		if err := admin.Do(t.Context(), append([]any{"acl", "setuser"}, args...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	acl("noinfo", "on", ">secret", "~*", "&*", "+@all", "-info", "-hstrlen")
	acl("nokeys", "on", ">secret", "~asynq:*", "&*", "+@all")
	acl("nochannels", "on", ">secret", "~*", "resetchannels", "+@all")
	acl("default", "resetpass", ">secret")
	tlsAddr := tlsRedis(t)
	noRedis := serving(t, func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) })
	for _, c := range []struct {
		name, url string
		want      []string // all in what is said
	}{
		{"no password", "redis://" + guarded.Addr, []string{"NOAUTH", "password"}},
		{"a wrong password", "redis://:wrong@" + guarded.Addr, []string{"WRONGPASS", "password is wrong"}},
		{"an unknown user", "redis://ann:secret@" + guarded.Addr, []string{"WRONGPASS"}},
		{"a user without commands", "redis://noinfo:secret@" + guarded.Addr, []string{"NOPERM", "hstrlen"}},
		{"a user without keys", "redis://nokeys:secret@" + guarded.Addr, []string{"NOPERM", "keys"}},
		{"a user without channels", "redis://nochannels:secret@" + guarded.Addr, []string{"NOPERM", "channel"}},
		{"a database that does not exist", "redis://" + open.Addr + "/99", []string{"no database of that number"}},
		{"TLS to a server without it", "rediss://" + open.Addr, []string{"does not speak TLS"}},
		{"an unknown authority", "rediss://" + tlsAddr, []string{"authority"}},
		{"no TLS to a server with it", "redis://" + tlsAddr, []string{"rediss://"}},
		{"a cluster's client on a single server", "redis+cluster://" + open.Addr, []string{"no cluster"}},
		{"what is no Redis", "redis://" + noRedis, []string{"no Redis"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := refused(t, c.url)
			if !errors.Is(err, ErrUnusable) {
				t.Fatalf("got %v", err)
			}
			for _, w := range append(c.want, "REDIS_URL") {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%q holds the password", err)
			}
		})
	}
}

func TestAUserWithoutInfoIsToldSo(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	if err := server.Client(t).Do(t.Context(), "acl", "setuser", "noinfo", "on", ">secret", "~*", "&*", "+@all",
		"-info").Err(); err != nil {
		t.Fatal(err)
	}
	if err := refused(t, "redis://noinfo:secret@"+server.Addr); !errors.Is(err, ErrUnusable) ||
		!strings.Contains(err.Error(), "'info'") {
		t.Errorf("got %v", err)
	}
}

func TestASingleServersClientOnAClusterIsRefused(t *testing.T) {
	t.Parallel()
	cluster := testenv.Cluster(t)
	addr, _, _ := strings.Cut(strings.TrimPrefix(cluster.URL, "redis+cluster://"), ",")
	if err := refused(t, "redis://"+addr); !errors.Is(err, ErrUnusable) ||
		!strings.Contains(err.Error(), "redis+cluster://") {
		t.Errorf("got %v", err)
	}
	if err := refused(t, cluster.URL); err != nil {
		t.Errorf("as a cluster: %v", err)
	}
}

func TestSentinelsThatDoNotKnowTheMasterOrTheClientAreNamed(t *testing.T) {
	t.Parallel()
	set := testenv.Sentinels(t)
	if err := refused(t, set.URL); err != nil {
		t.Errorf("as it should be: %v", err)
	}
	base := set.URL[:strings.LastIndex(set.URL, "/")]
	if err := refused(t, base+"/nobody"); !errors.Is(err, ErrUnusable) {
		t.Errorf("another master's name: %v", err)
	}
	for _, addr := range set.Sentinels() {
		s := redis.NewClient(&redis.Options{Addr: addr})
		t.Cleanup(func() { _ = s.Close() })
		if err := s.Do(t.Context(), "acl", "setuser", "default", "resetpass", ">guard").Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := refused(t, set.URL); !errors.Is(err, ErrUnusable) {
		t.Errorf("without the sentinels' password: %v", err)
	}
}

func TestARedisThatMayComeBackIsWaitedFor(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
	for i := range 200 { // until it says no
		server.Client(t).Set(t.Context(), fmt.Sprint("ballast", i), strings.Repeat("x", 64<<10), 0)
	}
	if err := refused(t, server.URL); err != nil {
		t.Errorf("full: %v", err)
	}
	server.Stop()
	if err := refused(t, server.URL); err != nil {
		t.Errorf("down: %v", err)
	}
	closing := serving(t, func(net.Conn) {})
	if err := refused(t, "redis://"+closing); err != nil {
		t.Errorf("a proxy without a server: %v", err)
	}
	if err := Permanent(errors.New("LOADING Redis is loading the dataset in memory")); err != nil {
		t.Error(err)
	}
}

func TestTheProbeLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	if err := refused(t, server.URL); err != nil {
		t.Fatal(err)
	}
	if keys := server.Client(t).Keys(t.Context(), "*").Val(); len(keys) != 0 {
		t.Errorf("left behind: %v", keys)
	}
}

// serving answers the address of a server that greets and closes each connection.
func serving(t *testing.T, greet func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = c.SetReadDeadline(time.Now().Add(time.Second))
				_, _ = c.Read(make([]byte, 1024))
				greet(c)
			}()
		}
	}()
	return l.Addr().String()
}

// tlsRedis starts a server with a self-signed certificate, and returns its TLS address.
func tlsRedis(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "test"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter: time.Now().
			Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, b []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certFile, keyFile := write("cert.pem", "CERTIFICATE", der), write("key.pem", "EC PRIVATE KEY", private)
	port := testenv.FreePort(t)
	testenv.Redis(
		t,
		"--tls-port",
		fmt.Sprint(port),
		"--tls-cert-file",
		certFile,
		"--tls-key-file",
		keyFile,
		"--tls-ca-cert-file",
		certFile,
		"--tls-auth-clients",
		"no",
	)
	return fmt.Sprintf("127.0.0.1:%d", port)
}
