package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
)

// Redis understands RESP, versions 2 and 3
// (https://redis.io/docs/latest/develop/reference/protocol-spec/).
func Redis(decide func(Event) Verdict) session { return &redisSession{decide: decide} }

// redisSession lines up what was asked, since replies come in that order.
type redisSession struct {
	decide func(Event) Verdict
	mu     sync.Mutex
	line   []asked
}

type asked struct {
	what  string
	key   string
	local []byte // answered here
}

func (s *redisSession) fromClient(r *bufio.Reader) (forward, back []byte, err error) {
	raw, words, err := readCommand(r)
	if err != nil {
		return nil, nil, err
	}
	what, key := signature(words)
	v := s.decide(Event{Asked, what, key})
	if v.Cut {
		return nil, nil, errCut
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.Reply != nil {
		s.line = append(s.line, asked{local: v.Reply})
		return nil, s.ready(), nil
	}
	if !pushes(words[0]) {
		s.line = append(s.line, asked{what: what, key: key})
	}
	return raw, nil, nil
}

// pushes names the commands whose replies stand outside the line.
func pushes(command string) bool {
	command = strings.ToUpper(command)
	return strings.HasSuffix(command, "SUBSCRIBE")
}

func (s *redisSession) fromServer(r *bufio.Reader) ([]byte, error) {
	raw, err := readReply(r)
	if err != nil || raw[0] == '>' {
		return raw, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.line) > 0 {
		head := s.line[0]
		s.line = s.line[1:]
		if s.decide(Event{Answered, head.what, head.key}).Cut {
			return nil, errCut
		}
	}
	return append(raw, s.ready()...), nil
}

// ready takes the local replies whose turn it is.
func (s *redisSession) ready() (back []byte) {
	for len(s.line) > 0 && s.line[0].local != nil {
		back = append(back, s.line[0].local...)
		s.line = s.line[1:]
	}
	return back
}

var errRESP = errors.New("not RESP")

// readCommand reads an array of bulk strings.
func readCommand(r *bufio.Reader) (raw []byte, words []string, err error) {
	head, n, err := readHead(r, '*')
	if err != nil {
		return nil, nil, err
	}
	raw = head
	for range n {
		head, size, err := readHead(r, '$')
		if err != nil {
			return nil, nil, err
		}
		body := make([]byte, size+2)
		if _, err := io.ReadFull(r, body); err != nil {
			return nil, nil, err
		}
		raw = append(append(raw, head...), body...)
		words = append(words, string(body[:size]))
	}
	if len(words) == 0 {
		return nil, nil, errRESP
	}
	return raw, words, nil
}

func readHead(r *bufio.Reader, kind byte) (raw []byte, n int, err error) {
	if raw, err = r.ReadBytes('\n'); err != nil {
		return nil, 0, err
	}
	n, err = strconv.Atoi(string(bytes.TrimSpace(raw[1:])))
	if raw[0] != kind || err != nil || n < 0 {
		return nil, 0, fmt.Errorf("%w: %q", errRESP, raw)
	}
	return raw, n, nil
}

// readReply reads one value of any type, those inside it included.
func readReply(r *bufio.Reader) ([]byte, error) {
	raw, err := r.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	parts := 0
	switch raw[0] {
	case '$', '=', '!':
		return readBody(r, raw)
	case '*', '~', '>':
		parts, err = strconv.Atoi(string(bytes.TrimSpace(raw[1:])))
	case '%', '|':
		parts, err = strconv.Atoi(string(bytes.TrimSpace(raw[1:])))
		parts *= 2
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %q", errRESP, raw)
	}
	for range max(parts, 0) { // -1 is null
		part, err := readReply(r)
		if err != nil {
			return nil, err
		}
		raw = append(raw, part...)
	}
	return raw, nil
}

func readBody(r *bufio.Reader, head []byte) ([]byte, error) {
	n, err := strconv.Atoi(string(bytes.TrimSpace(head[1:])))
	if err != nil {
		return nil, fmt.Errorf("%w: %q", errRESP, head)
	}
	if n < 0 {
		return head, nil
	}
	body := make([]byte, n+2)
	_, err = io.ReadFull(r, body)
	return append(head, body...), err
}

// signature is a command with the kinds of its keys, so that each step that talks to Redis has a
// name of its own.
func signature(words []string) (what, key string) {
	name := strings.ToUpper(words[0])
	keys := words[1:min(2, len(words))]
	if (name == "EVAL" || name == "EVALSHA") && len(words) > 2 {
		n, _ := strconv.Atoi(words[2])
		keys = words[3:min(3+n, len(words))]
	}
	var kinds []string
	for _, k := range keys {
		if kind := keyKind(k); kind != "" && (len(kinds) == 0 || kinds[len(kinds)-1] != kind) {
			kinds = append(kinds, kind)
		}
	}
	if len(keys) > 0 {
		key = keys[0]
	}
	return strings.TrimSpace(name + " " + strings.Join(kinds, ",")), key
}

// keyKind is "pending" of asynq:{default}:pending, "t" of asynq:{default}:t:…, "queues" of
// asynq:queues; empty for what is no key of ours.
func keyKind(key string) string {
	if open, end := strings.IndexByte(key, '{'), strings.IndexByte(key, '}'); open >= 0 && end > open {
		key = key[:open] + key[end+1:]
	}
	parts := strings.FieldsFunc(key, func(r rune) bool { return r == ':' })
	if len(parts) < 2 || parts[0] != "asynq" && parts[0] != "waybill" {
		return ""
	}
	return parts[1]
}

// WritesRedis reports whether a command, by its signature, writes: what a replica or a full server
// refuses.
func WritesRedis(what string) bool {
	name, _, _ := strings.Cut(what, " ")
	switch name {
	case "EVAL",
		"EVALSHA",
		"SET",
		"SETNX",
		"DEL",
		"SADD",
		"SREM",
		"ZADD",
		"ZREM",
		"LREM",
		"LPUSH",
		"RPUSH",
		"HSET",
		"EXPIRE",
		"PEXPIRE",
		"INCR",
		"FLUSHALL":
		return true
	}
	return false
}
