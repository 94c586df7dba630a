package guard

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// conn is one connection. It gives its reader whole messages only, one at a time,
// each paid for; keep-alives it answers itself.
type conn struct {
	net.Conn
	g        *Guard
	flow     flow
	ours     bool // we opened it
	stranger bool // counted as one; guarded by connections.mu
	given    bool // to whoever accepts; guarded by connections.mu
	spoken   bool // has sent a whole message

	buf    []byte    // read and not given away
	ready  int       // so much of it may be
	looked int       // so much of it has no end of a head
	size   int       // of the message at its head; 0: not known yet
	breaks int       // line breaks in a row, between messages
	begun  time.Time // when the message at its head began
	quiet  time.Time // when the last message ended

	once  sync.Once
	shut  chan struct{}
	taken chan struct{} // closed when it has been accepted and dealt with
}

func (g *Guard) wrap(network string, c net.Conn) *conn {
	return &conn{Conn: c, g: g, flow: flow{network, addrPort(c.RemoteAddr())}, quiet: time.Now(), shut: make(chan struct{}), taken: make(chan struct{})}
}

var errSlow = errors.New("too slow")

// chunk is what is read at once.
const chunk = 4 << 10

// whole waits until there is a whole message to give away.
func (c *conn) whole() error {
	for c.ready == 0 {
		if err := c.next(); err != nil {
			return err
		}
	}
	return nil
}

// Read gives away a piece of the next whole message.
func (c *conn) Read(b []byte) (int, error) {
	if err := c.whole(); err != nil {
		return 0, err
	}
	n := copy(b, c.buf[:c.ready])
	c.drop(n)
	c.ready -= n
	return n, nil
}

func (c *conn) inspect(data []byte, broken bool) Verdict {
	return c.g.Inspect(c.flow.network, c.flow.remote, data, broken)
}

// drop forgets the first n bytes; an idle connection keeps no buffer.
func (c *conn) drop(n int) {
	if n == len(c.buf) {
		c.buf = nil
		return
	}
	c.buf = c.buf[n:]
}

// next looks for a whole message at the head of the buffer, and reads on when
// there is none.
func (c *conn) next() error {
	if c.size == 0 {
		if err := c.skip(); err != nil {
			return err
		}
		size, broken := frame(c.buf, c.looked)
		switch {
		case broken:
			c.reject(c.inspect(c.buf, true))
			return errors.Join(net.ErrClosed, c.Close())
		case size == 0 && len(c.buf) > maxMessage:
			return errors.Join(net.ErrClosed, c.Close())
		}
		c.size, c.looked = size, len(c.buf)
	}
	if c.size == 0 || len(c.buf) < c.size {
		return c.fill()
	}
	c.begun, c.quiet, c.breaks = time.Time{}, time.Now(), 0
	if !c.spoken {
		c.spoken = true
		c.g.conns.heard(c)
	}
	if err := c.pay(); err != nil {
		return err
	}
	v := c.inspect(c.buf[:c.size], false)
	if v.Drop || v.Answer != nil {
		c.reject(v)
		return errors.Join(net.ErrClosed, c.Close()) // what is wrong once is wrong again
	}
	if v.Data != nil {
		c.buf = append(v.Data[:len(v.Data):len(v.Data)], c.buf[c.size:]...)
		c.size = len(v.Data)
	}
	c.ready, c.size, c.looked = c.size, 0, 0
	return nil
}

// skip takes line breaks before a message off (RFC 3261 section 7.5) and answers
// the keep-alive of two by one (RFC 5626 section 3.5.1).
func (c *conn) skip() error {
	n, ping := 0, false
	for n+1 < len(c.buf) && c.buf[n] == '\r' && c.buf[n+1] == '\n' {
		n += 2
		c.breaks++
		ping = ping || c.breaks%2 == 0
	}
	if n == 0 {
		return nil
	}
	c.drop(n)
	c.begun, c.quiet, c.looked = time.Time{}, time.Now(), 0
	if !ping {
		return nil
	}
	if err := c.pay(); err != nil {
		return err
	}
	_, err := c.Write([]byte("\r\n"))
	return err
}

// pay waits until the sender can pay for one message: what it sends meanwhile
// stays in its own buffers.
func (c *conn) pay() error {
	for {
		wait, _ := c.g.pay(c.flow, time.Now().UnixNano())
		if wait == 0 {
			return nil
		}
		timer := time.NewTimer(min(wait, time.Second))
		select {
		case <-timer.C:
		case <-c.shut:
			timer.Stop()
			return net.ErrClosed
		}
	}
}

// fill reads more, for as long as the connection may take.
func (c *conn) fill() error {
	if len(c.buf) > 0 && c.begun.IsZero() {
		c.begun = time.Now()
	}
	until := time.Now().Add(idleWait)
	switch {
	case !c.begun.IsZero():
		until = c.begun.Add(messageWait)
	case !c.knownNow():
		until = c.quiet.Add(idleWait)
	}
	if err := c.SetReadDeadline(until); err != nil {
		return err
	}
	piece := make([]byte, chunk)
	n, err := c.Conn.Read(piece)
	c.buf = append(c.buf, piece[:n]...)
	if n > 0 {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if c.begun.IsZero() && c.knownNow() {
			return nil
		}
		c.g.Stats.TimedOut.Add(1)
		if !c.begun.IsZero() {
			c.reject(c.inspect(c.buf, true))
		}
		return errors.Join(errSlow, net.ErrClosed, c.Close())
	}
	return err
}

func (c *conn) knownNow() bool { return c.ours || c.g.isKnown(c.flow) }

// reject answers what cannot be read; nothing after it can be, either.
func (c *conn) reject(v Verdict) {
	if v.Answer != nil && c.g.mayAnswer(c.flow.remote.Addr(), time.Now().UnixNano()) {
		_, _ = c.Write(v.Answer) // it is closed next
	}
}

// Write sends, or closes the connection when the peer takes nothing for long.
func (c *conn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(b)
	if err != nil {
		_ = c.Close()
	}
	return n, err
}

// Close ends the connection and tells that it is gone.
func (c *conn) Close() error {
	var err error
	c.once.Do(func() {
		close(c.shut)
		err = c.Conn.Close()
		c.g.conns.remove(c)
		c.g.Gone(c.flow.network, c.RemoteAddr().String())
	})
	return err
}
