package proxy

import (
	"bufio"
	"strings"
	"testing"
)

func TestACommandIsKnownByTheKindsOfItsKeys(t *testing.T) {
	t.Parallel()
	for want, words := range map[string]string{
		"EVALSHA t,pending": "evalsha sha 2 asynq:{default}:t:01a2.1 asynq:{default}:pending arg",
		"EVALSHA pending,paused,active,lease": "EVALSHA sha 4 asynq:{low}:pending asynq:{low}:paused " +
			"asynq:{low}:active asynq:{low}:lease",
		"EVALSHA watermark,t": "EVALSHA sha 3 waybill:{default}:watermark asynq:{default}:t:a asynq:{default}:t:b x",
		"GET watermark":       "GET waybill:{default}:watermark",
		"SADD queues":         "SADD asynq:queues default",
		"PING":                "PING",
		"CLIENT":              "CLIENT SETINFO lib-name",
	} {
		if got, _ := signature(strings.Fields(words)); got != want {
			t.Errorf("%s: got %q, want %q", words, got, want)
		}
	}
}

func TestLocalRepliesWaitForTheirTurn(t *testing.T) {
	t.Parallel()
	s := Redis(func(e Event) Verdict {
		if e.Moment == Asked && e.What == "DEL" {
			return Verdict{Reply: []byte("-READONLY no\r\n")}
		}
		return Verdict{}
	})
	asks := bufio.NewReader(strings.NewReader("*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nDEL\r\n$1\r\na\r\n"))
	if forward, back, err := s.fromClient(asks); err != nil || len(forward) == 0 || back != nil {
		t.Fatalf("GET: %q, %q, %v", forward, back, err)
	}
	if forward, back, err := s.fromClient(asks); err != nil || forward != nil || back != nil {
		t.Fatalf("DEL is answered here, after GET: %q, %q, %v", forward, back, err)
	}
	replies := bufio.NewReader(strings.NewReader(">2\r\n$1\r\nx\r\n$1\r\ny\r\n*2\r\n$-1\r\n%1\r\n+k\r\n:1\r\n"))
	if push, err := s.fromServer(replies); err != nil || string(push) != ">2\r\n$1\r\nx\r\n$1\r\ny\r\n" {
		t.Fatalf("a push stands outside the line: %q, %v", push, err)
	}
	if reply, err := s.fromServer(replies); err != nil ||
		string(reply) != "*2\r\n$-1\r\n%1\r\n+k\r\n:1\r\n-READONLY no\r\n" {
		t.Fatalf("got %q, %v", reply, err)
	}
}

func FuzzReadReply(f *testing.F) {
	f.Add("+OK\r\n")
	f.Add("*2\r\n$3\r\nabc\r\n:1\r\n")
	f.Add("$-1\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		raw, err := readReply(bufio.NewReader(strings.NewReader(text)))
		if err == nil && !strings.HasPrefix(text, string(raw)) {
			t.Errorf("%q was read as %q", text, raw)
		}
	})
}
