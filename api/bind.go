package api

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/job"
)

// object is a JSON object that reads itself: member is called once for each key, reads the value
// with one of the scanner's methods, and returns true; or returns false for a key that it does not
// know, which becomes a mistake. Names are compared exactly, as ever in JSON.
type object interface {
	member(s *scanner, name []byte) bool
}

// bindJSON reads the body, which must be one JSON object in UTF-8, into in. It answers 415, 413 or
// 400 where the body cannot be read, and 422 with every mistake in it where it can.
func bindJSON(c *gin.Context, in object) error {
	body, err := readBody(c, "application/json")
	if errors.Is(err, errTooLarge) {
		if field := cutPassword(body); field != "" {
			return job.Invalid("/"+field, "is far too long")
		}
	}
	if err != nil {
		return err
	}
	return decode(body, in)
}

// cutPassword is the name of the member, a password, within which a body was cut off for its size;
// empty: it was cut off elsewhere.
func cutPassword(body []byte) string {
	s, last := &scanner{data: body}, &lastMember{}
	s.document(func() { s.expectKind('{', func() { s.members(last) }) })
	if s.stop == nil || s.pos < len(body) || !strings.Contains(last.name, "password") {
		return ""
	}
	return last.name
}

// lastMember remembers the name of the member that was read last.
type lastMember struct{ name string }

func (l *lastMember) member(s *scanner, name []byte) bool {
	l.name = string(name)
	s.skip()
	return true
}

func decode(body []byte, in object) error {
	s := &scanner{data: body}
	s.document(func() { s.expectKind('{', func() { s.members(in) }) })
	return s.err()
}

// expectKind calls read where the value begins with first, an object or an array; another value
// makes the body unreadable.
func (s *scanner) expectKind(first byte, read func()) {
	if c := s.peek(); c != first {
		s.unexpected(c, map[byte]string{'{': "a JSON object", '[': "a JSON array"}[first])
		return
	}
	read()
}

// document walks over a whole text: one value, read by read, and nothing after it.
func (s *scanner) document(read func()) {
	if bytes.HasPrefix(s.data, []byte("\xef\xbb\xbf")) {
		s.malformed("a byte order mark")
		return
	}
	if s.peek(); s.pos == len(s.data) {
		s.stop = &job.Error{Code: job.CodeMalformed, Message: "the body is empty"}
		return
	}
	read()
	if s.space(); s.stop == nil && s.pos < len(s.data) {
		s.malformed("something after the end of the JSON")
	}
}

// err is what came of the walk.
func (s *scanner) err() error {
	if s.stop != nil {
		return s.stop
	}
	return invalid(s.mistakes)
}

// invalid is nil where there are no mistakes.
func invalid(mistakes []job.FieldError) error {
	if len(mistakes) == 0 {
		return nil
	}
	e := job.Invalid("", "")
	e.Fields = mistakes
	return e
}

// limitBody refuses a body of more than n bytes: at once where its length is announced, unless n is
// small, else when it has sent them.
func limitBody(n int64) gin.HandlerFunc {
	return func(c *gin.Context) {
		announced := c.Request.ContentLength > n
		if announced && n > smallBody {
			refuse(c, errTooLarge)
			return
		}
		requestInfoOf(c).maxBody = n
		// A body whose announced length is taken needs no guard: net/http reads no more of it than
		// was announced. Of a short one that is longer than is taken, the beginning is read, so
		// that the field that is too long can be named.
		if (announced || c.Request.ContentLength < 0) && c.Request.Body != nil {
			c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, n)
		}
	}
}

var errTooLarge = &job.Error{Code: codeTooLarge, Message: "the body is larger than what is taken here"}

// readBody checks what the headers say of the body and reads all of it into a slice of its own.
// Meanwhile the request takes no slot of inflightLimit, and of memory only what has arrived; both
// are returned with the answer. With errTooLarge it returns the beginning of the body.
func readBody(c *gin.Context, mediaTypes ...string) ([]byte, error) {
	if err := checkContent(c.Request.Header, mediaTypes...); err != nil {
		return nil, err
	}
	v := requestInfoOf(c)
	if v.caller != nil {
		v.held.user = v.caller.UserID
	}
	v.place.release()
	body, err := readAll(c.Writer, c.Request, v)
	if err == nil {
		err = v.place.acquire()
	}
	if err != nil {
		v.held.release()
		return body, err
	}
	return body, nil
}

const (
	firstRead = 4 << 10

	// A body that is longer than what arrives within the server's ReadTimeout must arrive at this
	// rate.
	minBodyRate = 32 << 10 // bytes a second
)

// readAll reads the body into a slice that grows with what has arrived, never with what was
// announced. The memory that it takes is counted before.
func readAll(w http.ResponseWriter, r *http.Request, v *requestInfo) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	in := slowBody{from: r.Body, control: http.NewResponseController(w), began: time.Now()}
	var body []byte
	for {
		size := max(2*cap(body), firstRead)
		if announced := int(r.ContentLength); len(body) <= announced && announced < size {
			size = announced + 1 // one more, to see the end
		}
		if most := int(v.maxBody) + 1; size > most && cap(body) < most {
			size = most
		}
		if err := v.held.grow(int64(size - cap(body))); err != nil {
			w.Header().Set("Connection", "close") // rather than to read what there is no room for
			return nil, err
		}
		body = append(make([]byte, 0, size), body...)
		for len(body) < cap(body) {
			n, err := in.Read(body[len(body):cap(body)])
			body = body[:len(body)+n]
			switch err {
			case nil:
			case io.EOF:
				return body, nil
			default:
				return body, bodyError(err)
			}
		}
	}
}

// slowBody gives a long body the time that it takes at the slowest rate, as it arrives: a peer that
// stops sending is cut off as soon as one that announced little. A body that has arrived within the
// server's ReadTimeout costs nothing.
type slowBody struct {
	from    io.Reader
	control *http.ResponseController
	began   time.Time
	read    int
	granted int // bytes that the deadline was moved for
}

func (b *slowBody) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	b.read += n
	if err == nil && b.read-b.granted >= minBodyRate {
		b.granted = b.read
		took := time.Duration(b.read) * time.Second / minBodyRate
		// Where the connection takes no deadline, its server's own holds.
		_ = b.control.SetReadDeadline(b.began.Add(readTimeout + took))
	}
	return n, err
}

// bodyError says what ended the reading of a body.
func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return errTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &job.Error{Code: codeTimeout, Message: "the body did not arrive in time", Err: err}
	default:
		return &job.Error{Code: job.CodeMalformed, Message: "the body is cut off", Err: err}
	}
}

// checkContent refuses bodies that are not what they should be, or that are packed: a small one
// could unpack to anything.
func checkContent(h http.Header, mediaTypes ...string) error {
	if e := h["Content-Encoding"]; len(e) > 0 && e[0] != "" && !strings.EqualFold(e[0], "identity") {
		return &job.Error{Code: codeMediaType, Message: "Content-Encoding is not taken here: send the body as it is"}
	}
	if got := h["Content-Type"]; len(got) == 1 {
		for _, want := range mediaTypes {
			if got[0] == want || isMedia(got[0], want) {
				return nil
			}
		}
	}
	return &job.Error{Code: codeMediaType, Message: "Content-Type must be " + strings.Join(mediaTypes, " or ")}
}

func isMedia(header, want string) bool {
	got, params, err := mime.ParseMediaType(header)
	if err != nil || got != want {
		return false
	}
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return false
		}
	}
	return true
}
