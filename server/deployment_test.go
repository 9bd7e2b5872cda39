package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/client"
	"github.com/waybill/waybill/internal/testenv"
	"github.com/waybill/waybill/server"
	"github.com/waybill/waybill/tasks"
)

const patience = 2 * time.Minute // what is awaited is quick; a busy machine may not be

// deployment sets the environment of API and worker, and answers where the API will be.
func deployment(t *testing.T) (url string) {
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t))
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	for name, value := range map[string]string{
		"DATABASE_URL":         testenv.Postgres(t),
		"REDIS_URL":            testenv.Redis(t).URL,
		"WAYBILL_ADDR":         addr,
		"WAYBILL_METRICS_ADDR": fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t)),
		"WAYBILL_JWT_KEYS":     "test:" + base64.StdEncoding.EncodeToString(key),
	} {
		t.Setenv(name, value)
	}
	return "http://" + addr
}

// command runs one command of s that must succeed.
func command(t *testing.T, s *server.Server, input string, args ...string) {
	t.Helper()
	var out bytes.Buffer
	if code := s.Run(t.Context(), args, strings.NewReader(input), &out, &out); code != 0 {
		t.Fatalf("%v: code %d: %s", args, code, &out)
	}
}

// start runs f. stop tells it to end, and wait answers how it ended.
func start(t *testing.T, f func(context.Context, io.Writer) error) (stop func(), wait func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f(ctx, t.Output()) }()
	return cancel, func() error {
		t.Helper()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return errors.New("it does not end")
		}
	}
}

// signIn answers a client of an administrator, once the API answers.
func signIn(t *testing.T, url, email, password string) *client.Client {
	t.Helper()
	var token struct {
		Access string `json:"access_token"`
	}
	c, err := client.New(url, "", client.WithToken(func() string { return token.Access }))
	if err != nil {
		t.Fatal(err)
	}
	body := map[string]string{"email": email, "password": password}
	testenv.EventuallyNoError(t, patience, func() error {
		return c.Call(t.Context(), http.MethodPost, "/v1/auth/login", body, &token)
	}, "no sign-in")
	return c
}

// An API and a worker of one program share nothing but PostgreSQL and Redis. The worker alone is
// set up, and when it is told to stop it finishes the job that it runs.
func TestAPIAndWorkerRunApart(t *testing.T) {
	url := deployment(t)
	begun, release := make(chan struct{}), make(chan struct{})
	seen := new(events)
	s := server.New(greet).Setup(func(_ context.Context, e *server.Env) error {
		seen.add("set up")
		e.OnStop(func(context.Context) error { seen.add("stopped"); return nil })
		e.Handle(greet.Handle(func(ctx context.Context, j *tasks.Job[greeting]) (string, error) {
			close(begun)
			<-release
			seen.add("handled")
			return makeGreeting(ctx, j)
		}))
		return nil
	})
	const email, password = "ann@example.com", "a long enough sentence"
	command(t, s, "", "migrate", "up")
	command(t, s, password+"\n", "admin", "create", "--email", email, "--password-stdin")
	stopAPI, waitAPI := start(t, s.API)
	c := signIn(t, url, email, password)

	j, err := client.Submit(t.Context(), c, greet, greeting{"Ann"})
	if err != nil {
		t.Fatal(err)
	}
	if got := seen.String(); got != "" {
		t.Errorf("before there is a worker: %s", got)
	}
	stopWorker, waitWorker := start(t, s.Worker)
	select {
	case <-begun:
	case <-time.After(patience):
		t.Fatal("the job does not begin")
	}
	stopWorker()
	close(release) // the job goes on when the worker was told to stop
	if err := waitWorker(); err != nil {
		t.Errorf("the worker ended with %v", err)
	}
	if got := seen.String(); got != "set up handled stopped" {
		t.Errorf("the worker's events are %q", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got, err := j.Wait(ctx); err != nil || got != "hello Ann" || j.Attempt != 1 {
		t.Errorf("got %q, %v at attempt %d", got, err, j.Attempt)
	}
	stopAPI()
	if err := waitAPI(); err != nil {
		t.Errorf("the API ended with %v", err)
	}
}

func TestAWrongConfigurationIsAnError(t *testing.T) {
	t.Setenv("DATABASE_URL", "")
	t.Setenv("REDIS_URL", "")
	for name, f := range map[string]func(context.Context, io.Writer) error{
		"API":    server.New().API,
		"worker": server.New().Worker,
	} {
		var log bytes.Buffer
		err := f(t.Context(), &log)
		if err == nil || !strings.Contains(err.Error(), "DATABASE_URL") || !strings.Contains(err.Error(), "REDIS_URL") {
			t.Errorf("%s: %v", name, err)
		}
		if log.Len() > 0 {
			t.Errorf("%s: the log has %s", name, &log)
		}
	}
}
