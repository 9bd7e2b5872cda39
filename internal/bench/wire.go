package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"net/url"
	"strconv"
	"time"
)

const (
	answerTimeout = 2 * time.Minute
	maxAnswer     = 64 << 20
	lineBuffer    = 8 << 10 // of one header line
)

// target is a server that is put under load. Its requests are bytes made beforehand and its answers
// are read by hand: the load shares the machine with what it measures, and net/http's client costs
// more than some of the servers.
type target struct {
	addr   string
	host   string
	secure bool
	bearer string
}

// newTarget takes a URL without a path apart.
func newTarget(base, bearer string) (target, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" {
		return target{}, fmt.Errorf("%q is not the URL of a server, as in http://127.0.0.1:8080", base)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return target{
		addr:   net.JoinHostPort(u.Hostname(), port),
		host:   u.Host,
		secure: u.Scheme == "https",
		bearer: bearer,
	}, nil
}

// request makes the bytes of a request.
func (t target) request(method, path string, body []byte) []byte {
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n", method, path, t.host, t.bearer)
	if body != nil {
		b = fmt.Appendf(b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	return append(append(b, "\r\n"...), body...)
}

// wire is a connection that is kept alive, for one request after the other.
type wire struct {
	t  target
	nc net.Conn
	r  *bufio.Reader
}

func (t target) dial(ctx context.Context) (*wire, error) {
	w := &wire{t: t, r: bufio.NewReaderSize(nil, lineBuffer)}
	return w, w.connect(ctx)
}

func (w *wire) connect(ctx context.Context) error {
	d := &net.Dialer{Timeout: 10 * time.Second}
	var err error
	if w.t.secure {
		w.nc, err = (&tls.Dialer{NetDialer: d, Config: &tls.Config{NextProtos: []string{"http/1.1"}}}).DialContext(
			ctx,
			"tcp",
			w.t.addr,
		)
	} else {
		w.nc, err = d.DialContext(ctx, "tcp", w.t.addr)
	}
	if err != nil {
		return err
	}
	w.r.Reset(w.nc)
	return nil
}

func (w *wire) close() {
	if w.nc != nil {
		_ = w.nc.Close()
	}
}

// do sends a request and reads its answer into body, whose room is used again.
func (w *wire) do(ctx context.Context, request, body []byte) (status int, answer []byte, err error) {
	if w.nc == nil { // the server closed it after its last answer
		if err := w.connect(ctx); err != nil {
			return 0, body, err
		}
	}
	if err := w.nc.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return 0, body, err
	}
	if _, err := w.nc.Write(request); err != nil {
		return 0, body, fmt.Errorf("send a request: %w", err)
	}
	status, answer, keep, err := readAnswer(w.r, body)
	if err != nil {
		return 0, body, fmt.Errorf("read an answer: %w", err)
	}
	if !keep {
		w.close()
		w.nc = nil
	}
	return status, answer, nil
}

// head is what matters of an answer's status line and headers.
type head struct {
	status  int
	length  int64 // -1: not told
	chunked bool
	keep    bool
}

// readAnswer reads one HTTP/1.1 answer to a request that is no HEAD. keep is false where no further
// one comes on this connection.
func readAnswer(r *bufio.Reader, body []byte) (status int, answer []byte, keep bool, err error) {
	h := head{status: 100}
	for h.status < 200 { // 1xx come before the answer
		if h, err = readHead(r); err != nil {
			return 0, body, false, err
		}
	}
	body = body[:0]
	switch {
	case h.status == 204 || h.status == 304:
	case h.chunked:
		body, err = readInto(httputil.NewChunkedReader(r), body)
		if err == nil {
			_, err = readHeaders(r, &h) // trailers, and the empty line
		}
	case h.length >= 0:
		if h.length > maxAnswer {
			return 0, body, false, fmt.Errorf("an answer of %d bytes", h.length)
		}
		body = append(body, make([]byte, h.length)...)
		_, err = io.ReadFull(r, body)
	default:
		h.keep = false
		body, err = readInto(r, body)
	}
	return h.status, body, h.keep, err
}

func readInto(r io.Reader, body []byte) ([]byte, error) {
	b := bytes.NewBuffer(body)
	n, err := b.ReadFrom(io.LimitReader(r, maxAnswer+1))
	if err == nil && n > maxAnswer {
		err = errors.New("an answer without end")
	}
	return b.Bytes(), err
}

func readHead(r *bufio.Reader) (h head, err error) {
	line, err := readLine(r)
	if err != nil {
		return h, err
	}
	rest, ok := bytes.CutPrefix(line, []byte("HTTP/1.1 "))
	if !ok || len(rest) < 3 || len(rest) > 3 && rest[3] != ' ' {
		return h, fmt.Errorf("no HTTP/1.1: %q", line)
	}
	h = head{length: -1, keep: true}
	if h.status, err = strconv.Atoi(string(rest[:3])); err != nil || h.status < 100 {
		return h, fmt.Errorf("no status: %q", line)
	}
	return readHeaders(r, &h)
}

func readHeaders(r *bufio.Reader, h *head) (head, error) {
	for {
		line, err := readLine(r)
		if err != nil || len(line) == 0 {
			return *h, err
		}
		name, value, ok := bytes.Cut(line, []byte{':'})
		if !ok {
			return *h, fmt.Errorf("no header: %q", line)
		}
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if h.length, err = strconv.ParseInt(string(value), 10, 64); err != nil || h.length < 0 {
				return *h, fmt.Errorf("no length: %q", line)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			if h.chunked = bytes.EqualFold(value, []byte("chunked")); !h.chunked {
				return *h, fmt.Errorf("an encoding that was not asked for: %q", line)
			}
		case bytes.EqualFold(name, []byte("Connection")):
			h.keep = h.keep && !bytes.EqualFold(value, []byte("close"))
		}
	}
}

// readLine answers a line without its end; it is good until the next read.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'}), nil
}
