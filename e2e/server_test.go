package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var waybill string // the program, built by TestMain

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "waybill-e2e")
	if err == nil {
		waybill = filepath.Join(dir, "waybill")
		build := exec.Command("go", "build", "-C", "..", "-o", waybill, "./cmd/waybill")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		err = build.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build waybill:", err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// server is a whole Waybill, started as a newcomer would: `waybill dev`.
type server struct {
	t     *testing.T
	url   string
	token string // an administrator's
	http  *http.Client
}

const password = "correct horse battery staple"

func startServer(t *testing.T) *server {
	t.Helper()
	addr, data := freeAddr(t), filepath.Join(t.TempDir(), "data")
	log := &bytes.Buffer{}
	cmd := exec.Command(waybill, "dev", "--addr", addr, "--data", data)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("waybill said:\n%s", log)
		}
	})
	s := &server{t: t, url: "http://" + addr, http: &http.Client{Timeout: 30 * time.Second}}
	s.eventually("the server is ready", func() bool {
		res, err := s.http.Get(s.url + "/readyz")
		return err == nil && res.Body.Close() == nil && res.StatusCode == http.StatusOK
	})
	var keep struct {
		Email    string `json:"admin_email"`
		Password string `json:"admin_password"`
	}
	text, err := os.ReadFile(filepath.Join(data, "dev.json"))
	if err == nil {
		err = json.Unmarshal(text, &keep)
	}
	if err != nil {
		t.Fatal(err)
	}
	var tokens struct {
		Access string `json:"access_token"`
	}
	s.call("POST", "/v1/auth/login", map[string]string{"email": keep.Email, "password": keep.Password}, &tokens)
	s.token = tokens.Access
	return s
}

func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// call sends a request as the administrator and reads the answer into out.
func (s *server) call(method, path string, body, out any) {
	s.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequest(method, s.url+path, bytes.NewReader(b))
	if err != nil {
		s.t.Fatal(err)
	}
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := s.http.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s", text)
	}
	if err == nil && out != nil {
		err = json.Unmarshal(text, out)
	}
	if err != nil {
		s.t.Fatalf("%s %s: %d %v", method, path, res.StatusCode, err)
	}
}

// user makes an account and answers its e-mail.
func (s *server) user(role string) string {
	s.t.Helper()
	email := role + "@example.com"
	s.call("POST", "/v1/users", map[string]any{"email": email, "password": password, "role": role}, nil)
	return email
}

type job struct {
	ID      string `json:"id"`
	State   string `json:"state"`
	Attempt int    `json:"attempt"`
}

// submit makes a job and waits until it stands in a state.
func (s *server) submit(state string, body map[string]any) job {
	s.t.Helper()
	var j job
	s.call("POST", "/v1/jobs", body, &j)
	return s.reaches(j.ID, state)
}

func (s *server) job(id string) (j job) {
	s.t.Helper()
	s.call("GET", "/v1/jobs/"+id, nil, &j)
	return j
}

func (s *server) reaches(id, state string) (j job) {
	s.t.Helper()
	s.eventually("job "+id+" is "+state, func() bool { j = s.job(id); return j.State == state })
	return j
}

// deeds are the actions in the audit log, newest first, each with its actor.
func (s *server) deeds() string {
	s.t.Helper()
	var page struct {
		Data []struct{ Actor, Action, Target string }
	}
	s.call("GET", "/v1/audit?limit=100", nil, &page)
	var lines []string
	for _, e := range page.Data {
		lines = append(lines, e.Actor+" "+e.Action+" "+e.Target)
	}
	return strings.Join(lines, "\n")
}

func (s *server) eventually(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("not within 30 s: %s", what)
		}
	}
}
