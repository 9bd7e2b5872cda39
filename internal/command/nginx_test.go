package command

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/testenv"
)

// behindNginx is an api behind an nginx that runs the configuration of docs/deployment.md.
type behindNginx struct {
	*apiProcess
	base string // the public URL
	http *http.Client
}

const (
	publicHost = "jobs.example.com" // as the documentation has it
	clientIP   = "127.0.0.9"        // where the clients of nginx are
)

func startNginx(t *testing.T, path string) *behindNginx {
	t.Helper()
	port := testenv.FreePort(t)
	base := fmt.Sprintf("https://%s:%d%s", publicHost, port, path)
	api := startAPI(t, "WAYBILL_PUBLIC_URL="+base, "WAYBILL_TRUSTED_PROXIES=127.0.0.1", "WAYBILL_LOG_LEVEL=info")
	dir := t.TempDir()
	certificate(t, dir)
	config := docsBlock(t, "deployment.md", "nginx")
	for old, now := range map[string]string{
		"127.0.0.1:8080": api.addr, "443 ssl": fmt.Sprintf("127.0.0.1:%d ssl", port), "location / {": "location " +
			path + "/ {",
		"/etc/ssl/": dir + "/",
	} {
		if !strings.Contains(config, old) {
			t.Fatalf("the documented configuration has no %q", old)
		}
		config = strings.ReplaceAll(config, old, now)
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root; " // another could not enter the test's folder
	}
	whole := user + fmt.Sprintf(
		"daemon off; pid %[1]s/pid; error_log stderr; worker_processes 1;\nevents { worker_connections 1000; }\nhttp "+
			"{\naccess_log off;\n"+
			"client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path "+
			"%[1]s/u; scgi_temp_path %[1]s/s;\n%[2]s\n}\n",
		dir,
		config,
	)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(whole), 0o644); err != nil {
		t.Fatal(err)
	}
	runNginx(t, dir, file)
	b := &behindNginx{apiProcess: api, base: base, http: clientOf(t, dir, port)}
	testenv.EventuallyNoError(t, startPatience, func() error {
		res, err := b.http.Get(base + "/healthz")
		if err == nil {
			_ = res.Body.Close()
		}
		return err
	}, "nginx does not answer")
	return b
}

func runNginx(t *testing.T, dir, file string) {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx" // which Debian keeps off the PATH of users
	}
	cmd := exec.Command(program, "-p", dir, "-c", file)
	var says bytes.Buffer
	cmd.Stderr = &says
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: install nginx, as tools/install.sh does", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("nginx said:\n%s", says.String())
		}
	})
}

// certificate makes one for the public host, under the names that the documentation has.
func certificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		DNSNames:              []string{publicHost},
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{publicHost + ".pem": {Type: "CERTIFICATE", Bytes: der}, publicHost +
		".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// clientOf trusts that certificate, and finds the public host on this machine.
func clientOf(t *testing.T, dir string, port int) *http.Client {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, publicHost+".pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	here := fmt.Sprint("127.0.0.1:", port)
	return &http.Client{Jar: jar, Timeout: 2 * time.Minute, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(clientIP)}}
			return d.DialContext(ctx, network, here)
		},
	}}
}

func TestTheAPIWorksBehindNginxAsDocumented(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"at the root": "", "below a path": "/waybill"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startNginx(t, path)
			b.key = b.login(b.base, b.http)
			b.signsIn()
			b.leadsTo("/", b.base+"/docs")
			b.leadsTo("/monitor/queues", b.base+"/login?next=%2Fmonitor%2Fqueues")
			b.takesUploads()
			b.waits()
			b.knowsItsClients()
		})
	}
}

// leadsTo follows no redirect.
func (b *behindNginx) leadsTo(path, want string) {
	b.Helper()
	c := *b.http
	c.Jar, c.CheckRedirect = nil, func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := c.Get(b.base + path)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	if got, err := res.Location(); err != nil || got.String() != want {
		b.Errorf("%s leads to %v, want %s: %s", path, got, want, res.Status)
	}
}

// signsIn signs in on the page as a browser does, reads the monitor and one of its scripts, and
// signs out.
func (b *behindNginx) signsIn() {
	b.Helper()
	u, _ := url.Parse(b.base)
	post := func(path string, form url.Values) (*http.Response, string) {
		req, err := http.NewRequest("POST", b.base+path, strings.NewReader(form.Encode()))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", u.Scheme+"://"+u.Host)
		return b.read(b.http.Do(req))
	}
	res, page := post("/login", url.Values{"email": {edgeEmail}, "password": {edgePassword}, "next": {"/monitor/"}})
	if res.StatusCode != 200 || res.Request.URL.String() != b.base+"/monitor/" || !strings.Contains(page, edgeEmail) {
		b.Fatalf("signing in leads to %s: %s %.300s", res.Request.URL, res.Status, page)
	}
	_, rest, _ := strings.Cut(page, `src="`)
	script, _, _ := strings.Cut(rest, `"`)
	for _, path := range []string{script, u.Path + "/monitor/api/queues"} {
		if res, text := b.read(b.http.Get(u.Scheme + "://" + u.Host + path)); res.StatusCode != 200 {
			b.Errorf("%s: %s %.200s", path, res.Status, text)
		}
	}
	if res, _ := post("/logout", nil); res.Request.URL.Path != u.Path+"/login" {
		b.Errorf("signing out leads to %s", res.Request.URL)
	}
	if res, _ := b.read(b.http.Get(b.base + "/monitor/")); res.Request.URL.Path != u.Path+"/login" {
		b.Errorf("after signing out, the monitor leads to %s", res.Request.URL)
	}
}

func (b *behindNginx) read(res *http.Response, err error) (*http.Response, string) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.Fatal(err)
	}
	return res, string(text)
}

// takesUploads sends a batch as large as may be: more than nginx takes if it is not told.
func (b *behindNginx) takesUploads() {
	b.Helper()
	item := `{"type":"debug.echo","payload":{"a":"` + strings.Repeat("x", 250<<10) + `"}}`
	body := "[" + strings.Repeat(item+",", 99) + item + "]"
	if status, text, _, err := b.send(b.http, "POST", b.base+"/v1/jobs/batch", body); err != nil || status != 202 {
		b.Errorf("a batch of %d MiB: %d %.200s %v", len(body)>>20, status, text, err)
	}
}

// waits waits for longer than may be: nginx cuts answers that take a minute.
func (b *behindNginx) waits() {
	b.Helper()
	id := b.submit(b.base, b.http)
	status, text, _, err := b.send(b.http, "GET", b.base+"/v1/jobs/"+id+"?wait=60s", "")
	if err != nil || status != 200 || !strings.Contains(text, `"state":"pending"`) {
		b.Errorf("a wait: %d %.200s %v", status, text, err)
	}
}

// knowsItsClients holds that the log shows the client, however it lies about where it comes from.
func (b *behindNginx) knowsItsClients() {
	b.Helper()
	req, err := http.NewRequest("GET", b.base+"/healthz?client", nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("X-Forwarded-For", "198.51.100.7")
	if res, _ := b.read(b.http.Do(req)); res.Header.Get("Strict-Transport-Security") == "" {
		b.Error("browsers are not told to come by TLS")
	}
	if err := b.cmd.Process.Signal(os.Interrupt); err != nil { // which writes the log to its end
		b.Fatal(err)
	}
	_ = b.cmd.Wait()
	if log := b.log.String(); strings.Contains(log, "198.51.100.7") || !strings.Contains(log, `"ip":"`+clientIP+`"`) {
		b.Errorf("the log shows another client: %.2000s", log)
	}
}
