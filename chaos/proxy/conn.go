package proxy

import (
	"bufio"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// delayed is a message and when it may be delivered.
type delayed struct {
	due  time.Time
	data []byte
}

// conn is one connection of a process and the one to the server that belongs to it.
type conn struct {
	link               *Link
	client, server     net.Conn
	toClient, toServer chan delayed
	once               sync.Once
	done               chan struct{}
}

func (c *conn) close() {
	c.once.Do(func() {
		close(c.done)
		_ = c.client.Close()
		_ = c.server.Close()
	})
}

func (c *conn) run(s session) {
	defer c.close()
	var wg sync.WaitGroup
	never := new(atomic.Bool)
	wg.Go(func() { c.read(c.client, func(r *bufio.Reader) error { return c.ask(s, r) }) })
	wg.Go(func() { c.read(c.server, func(r *bufio.Reader) error { return c.answer(s, r) }) })
	wg.Go(func() { c.write(c.toServer, c.server, never) })
	wg.Go(func() { c.write(c.toClient, c.client, &c.link.mute) })
	wg.Wait()
}

func (c *conn) ask(s session, r *bufio.Reader) error {
	forward, back, err := s.fromClient(r)
	c.put(c.toServer, forward)
	c.put(c.toClient, back)
	return err
}

func (c *conn) answer(s session, r *bufio.Reader) error {
	forward, err := s.fromServer(r)
	c.put(c.toClient, forward)
	return err
}

func (c *conn) put(to chan delayed, data []byte) {
	if len(data) == 0 {
		return
	}
	select {
	case to <- delayed{time.Now().Add(time.Duration(c.link.delay.Load())), data}:
	case <-c.done:
	}
}

// read takes messages until the connection ends. What was read before is still delivered, unless it
// was cut.
func (c *conn) read(from net.Conn, next func(*bufio.Reader) error) {
	r := bufio.NewReaderSize(from, 64<<10)
	for {
		if err := next(r); err != nil {
			if err == errCut {
				c.close()
				return
			}
			break
		}
	}
	if from == c.client {
		close(c.toServer)
		return
	}
	c.drain()
}

// drain lets the client have what the server said last, and then ends.
func (c *conn) drain() {
	for deadline := time.Now().Add(2 * time.Second); len(c.toClient) > 0 && time.Now().Before(deadline); {
		select {
		case <-c.done:
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
	time.Sleep(time.Duration(c.link.delay.Load()) + 5*time.Millisecond)
	c.close()
}

func (c *conn) write(from chan delayed, to net.Conn, held *atomic.Bool) {
	defer c.close()
	for {
		select {
		case <-c.done:
			return
		case p, ok := <-from:
			if !ok || !c.wait(p.due, held) {
				return
			}
			if _, err := to.Write(p.data); err != nil {
				return
			}
		}
	}
}

// wait returns when a message may pass, or false when the connection ends first.
func (c *conn) wait(due time.Time, held *atomic.Bool) bool {
	for {
		pause := time.Until(due)
		if c.link.silent.Load() || held.Load() {
			pause = max(pause, 10*time.Millisecond)
		}
		if pause <= 0 {
			return true
		}
		select {
		case <-c.done:
			return false
		case <-time.After(pause):
		}
	}
}
