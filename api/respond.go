package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"github.com/gin-gonic/gin"
)

// reply is an answer that needs more than "200 and this body". A nil Body is an answer without one.
type reply struct {
	Status   int    // 200 where zero, or 204 without a body
	Location string // of what was made
	Replayed bool   // the Idempotency-Key was known
	Secret   bool   // the answer must not be cached
	Body     any
}

// header writes what the answer says of itself.
func (r *reply) header(c *gin.Context) {
	h, v := c.Writer.Header(), requestInfoOf(c)
	if r.Location != "" {
		v.location[0] = string(v.base) + r.Location
		h["Location"] = v.location[:]
	}
	if r.Replayed {
		h.Set("Idempotency-Replayed", "true")
	}
	if r.Secret {
		h["Cache-Control"] = noStore
	}
}

// appender is a body that writes itself: jobs do, because encoding/json would compact the payloads
// in them.
type appender interface {
	appendJSON(b []byte) []byte
}

// handle makes a Gin handler of one that returns what to answer: a reply, a body for 200, or nil
// for 204; or an error, which becomes a problem.
func handle(h func(c *gin.Context) (any, error)) gin.HandlerFunc {
	return func(c *gin.Context) {
		answer, err := h(c)
		if err != nil {
			refuse(c, err)
			return
		}
		r, ok := answer.(reply)
		if !ok {
			r = reply{Body: answer}
		}
		if err := respond(c, r); err != nil {
			refuse(c, err)
		}
	}
}

func respond(c *gin.Context, r reply) error {
	status := orElse(r.Status, http.StatusOK)
	switch body := r.Body.(type) {
	case nil:
		r.header(c)
		c.Status(orElse(r.Status, http.StatusNoContent))
		c.Writer.WriteHeaderNow()
	case appender:
		room := bodies.Get().(*[]byte)
		text := append(body.appendJSON((*room)[:0]), '\n')
		r.header(c)
		write(c, status, "application/json", text)
		if cap(text) <= maxKeptBody {
			*room = text
			bodies.Put(room)
		}
	default:
		text, err := encode(body)
		if err != nil {
			return err
		}
		r.header(c)
		write(c, status, "application/json", text)
	}
	return nil
}

// bodies are buffers for answers that encode themselves. A buffer returns to the pool once its
// answer has been sent.
var bodies = sync.Pool{New: func() any { return new(make([]byte, 0, 2<<10)) }}

const maxKeptBody = 128 << 10 // bytes of a slice that is worth keeping: a batch of 1,000 has 80,000

// encode writes v as JSON without escaping <, > and &: an answer is never part of a page.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return buf.Bytes(), nil
}

// countedBody is how many bytes net/http buffers before it sends, and up to which it writes
// Content-Length itself. Left to it, the headers of an answer stay few enough for Go's small maps,
// which are not copied piece by piece.
const countedBody = 2 << 10

// write sends the whole answer. A client that has gone is no news: net/http ends the connection.
//
// The request's place is given back before: the peer may take its time. What it holds meanwhile is
// counted, if it is much.
func write(c *gin.Context, status int, contentType string, body []byte) {
	h, v := c.Writer.Header(), requestInfoOf(c)
	if len(body) > freeBody {
		if err := v.held.grow(int64(len(body))); err != nil {
			refuse(c, err)
			return
		}
	}
	v.place.release()
	v.contentType[0] = contentType
	h["Content-Type"] = v.contentType[:]
	if len(body) > countedBody {
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	c.Status(status)
	_, _ = c.Writer.Write(body)
}
