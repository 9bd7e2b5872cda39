package obs

import (
	"context"
	"io"
	"log/slog"
	"sync"
)

// guard has the attributes of a record searched for secrets one by one only where there may be some: to call a function for every
// attribute, as redact wants it, costs more than all else about a line, and nearly all lines are plainly harmless.
type guard struct {
	plain   slog.Handler // nil: what was added by With or WithGroup must always be searched
	careful slog.Handler
}

// Enabled implements slog.Handler.
func (g *guard) Enabled(ctx context.Context, l slog.Level) bool { return g.careful.Enabled(ctx, l) }

// Handle implements slog.Handler.
func (g *guard) Handle(ctx context.Context, r slog.Record) error {
	if g.plain == nil {
		return g.careful.Handle(ctx, r)
	}
	clean := true
	r.Attrs(func(a slog.Attr) bool {
		clean = harmless(a)
		return clean
	})
	if clean {
		return g.plain.Handle(ctx, r)
	}
	return g.careful.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (g *guard) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := &guard{careful: g.careful.WithAttrs(attrs)}
	for _, a := range attrs {
		if !harmless(a) {
			return next
		}
	}
	if g.plain != nil {
		next.plain = g.plain.WithAttrs(attrs)
	}
	return next
}

// WithGroup implements slog.Handler.
func (g *guard) WithGroup(name string) slog.Handler {
	next := &guard{careful: g.careful.WithGroup(name)}
	if g.plain != nil && !secretName(name) {
		next.plain = g.plain.WithGroup(name)
	}
	return next
}

// harmless knows what redact would leave as it is. What it would have to look into, such as an error or a group, is not.
func harmless(a slog.Attr) bool {
	switch a.Value.Kind() {
	case slog.KindString:
		return !secretName(a.Key) && !mayHoldPassword(a.Value.String())
	case slog.KindAny, slog.KindGroup, slog.KindLogValuer:
		return false
	}
	return true
}

// oneAtATime lets two handlers write to the same place.
type oneAtATime struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *oneAtATime) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(p)
}
