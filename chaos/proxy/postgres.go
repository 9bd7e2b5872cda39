package proxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// Postgres understands version 3 of PostgreSQL's protocol
// (https://www.postgresql.org/docs/15/protocol-message-formats.html), without TLS. What the server
// says is passed on by whole answers, up to ReadyForQuery: by then a statement outside a
// transaction is committed.
func Postgres(decide func(Event) Verdict) session {
	// The first answer is that to the start-up.
	return &pgSession{decide: decide, sql: map[string]string{}, waiting: [][]string{nil}}
}

type pgSession struct {
	decide  func(Event) Verdict
	started bool // by the reader of the client alone

	mu      sync.Mutex
	sql     map[string]string // prepared statements, by name
	group   []string          // asked since the last Sync
	waiting [][]string        // groups whose ReadyForQuery has not come
}

func (s *pgSession) fromClient(r *bufio.Reader) (forward, back []byte, err error) {
	if !s.started {
		s.started = true
		raw, _, err := readMessage(r, false)
		return raw, nil, err
	}
	raw, body, err := readMessage(r, true)
	if err != nil {
		return nil, nil, err
	}
	if sql := s.note(raw[0], body); sql != "" && s.decide(Event{Moment: Asked, What: sql}).Cut {
		return nil, nil, errCut
	}
	return raw, nil, nil
}

// note keeps track of statements and answers the SQL that a message is about to run; empty: none.
func (s *pgSession) note(kind byte, body []byte) (sql string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch kind {
	case 'P': // Parse: name, SQL
		name, rest := text(body)
		s.sql[name], _ = text(rest)
	case 'B': // Bind: portal, statement
		_, rest := text(body)
		name, _ := text(rest)
		sql = s.sql[name]
		s.group = append(s.group, sql)
	case 'Q':
		sql, _ = text(body)
		s.waiting = append(s.waiting, []string{sql})
	case 'S':
		s.waiting = append(s.waiting, s.group)
		s.group = nil
	}
	return sql
}

func (s *pgSession) fromServer(r *bufio.Reader) ([]byte, error) {
	var answer []byte
	for {
		raw, _, err := readMessage(r, true)
		if err != nil {
			return answer, err // a last word before the end, as at a shutdown
		}
		answer = append(answer, raw...)
		switch raw[0] {
		case 'Z':
			return s.judge(answer)
		case 'R': // the start-up waits for answers of the client, where a password is asked for
			return answer, nil
		}
	}
}

func (s *pgSession) judge(answer []byte) ([]byte, error) {
	s.mu.Lock()
	var group []string
	if len(s.waiting) > 0 {
		group, s.waiting = s.waiting[0], s.waiting[1:]
	}
	s.mu.Unlock()
	for _, sql := range group {
		if s.decide(Event{Moment: Answered, What: sql}).Cut {
			return nil, errCut
		}
	}
	return answer, nil
}

// readMessage reads a message: its type, where it has one, its length and its body.
func readMessage(r *bufio.Reader, typed bool) (raw, body []byte, err error) {
	head := 4
	if typed {
		head = 5
	}
	raw = make([]byte, head)
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, nil, err
	}
	size := int(binary.BigEndian.Uint32(raw[head-4:])) - 4
	if size < 0 || size > 1<<30 {
		return nil, nil, fmt.Errorf("not a message of PostgreSQL's: %d bytes", size)
	}
	body = make([]byte, size)
	_, err = io.ReadFull(r, body)
	return append(raw, body...), body, err
}

// text reads a string that ends with NUL, and answers what follows it.
func text(b []byte) (s string, rest []byte) {
	head, rest, _ := bytes.Cut(b, []byte{0})
	return string(head), rest
}
