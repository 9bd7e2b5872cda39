package dev

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	inboxKeeps = 100
	inboxBody  = 64 << 10 // bytes kept of a body
)

// webhookInbox answers 200 to whatever it is sent and shows it again, so that the first
// http.request needs no other server.
type webhookInbox struct {
	mu   sync.Mutex
	mail []received // newest first
}

type received struct {
	At      time.Time           `json:"at"`
	Method  string              `json:"method"`
	Headers map[string][]string `json:"headers"`
	Body    any                 `json:"body"`
}

func (i *webhookInbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodGet {
		i.show(w)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, inboxBody))
	if err != nil {
		http.Error(w, `{"error":"the body broke off"}`, http.StatusBadRequest)
		return
	}
	l := received{At: time.Now().UTC(), Method: r.Method, Headers: r.Header, Body: string(body)}
	if json.Valid(body) {
		l.Body = json.RawMessage(body)
	}
	i.mu.Lock()
	i.mail = slices.Insert(i.mail, 0, l)
	i.mail = i.mail[:min(len(i.mail), inboxKeeps)]
	n := len(i.mail)
	i.mu.Unlock()
	fmt.Fprintf(w, "{\"received\":true,\"letters\":%d}\n", n)
}

func (i *webhookInbox) show(w http.ResponseWriter) {
	i.mu.Lock()
	mail := slices.Clone(i.mail)
	i.mu.Unlock()
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(map[string]any{"letters": mail})
}

// withInbox puts the inbox before the API.
func withInbox(next http.Handler) http.Handler {
	in := &webhookInbox{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/dev/inbox" {
			in.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
