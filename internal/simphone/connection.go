package simphone

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// maxMessage bounds what is read of one message.
const maxMessage = 64 << 10

// errTooLong: a message has no end that the phone would wait for.
var errTooLong = errors.New("the server's message is too long, or says not how long it is")

// connection is one connection to the server. It gives its reader whole messages, as
// sipgo loses its way in pieces, and keeps what is between them, the answers to
// keep-alives, to itself.
type connection struct {
	net.Conn
	flow    *flow
	local   netip.AddrPort
	once    sync.Once
	reading chan struct{} // closed when sipgo reads it

	buf   []byte
	ready int // so much of it may be given away

	mu     sync.Mutex
	asked  bool        // a keep-alive waits for its answer
	expire *time.Timer // then it is too late
}

// Read gives away a piece of the next whole message.
func (s *connection) Read(b []byte) (int, error) {
	s.once.Do(func() { close(s.reading) })
	for s.ready == 0 {
		if err := s.next(); err != nil {
			_ = s.Close()
			s.flow.gone(s)
			return 0, err
		}
	}
	n := copy(b, s.buf[:s.ready])
	s.buf, s.ready = s.buf[n:], s.ready-n
	return n, nil
}

// next reads until a whole message is at the head of the buffer.
func (s *connection) next() error {
	s.buf = bytes.TrimLeft(s.buf, "\r\n")
	size, err := messageSize(s.buf)
	switch {
	case err != nil:
		return err
	case size > 0 && size <= len(s.buf):
		s.ready = size
		return nil
	}
	piece := make([]byte, 4<<10)
	n, err := s.Conn.Read(piece)
	if n > 0 {
		s.heard()
		s.buf = append(s.buf, piece[:n]...)
		return nil
	}
	if err == nil {
		return nil
	}
	return net.ErrClosed // whatever it was, the connection is over
}

// messageSize finds the end of the first message by its Content-Length, which must
// be there on a stream (RFC 3261 section 20.14); 0 while its head is not whole.
func messageSize(b []byte) (int, error) {
	head := bytes.Index(b, []byte("\r\n\r\n"))
	if head < 0 {
		if len(b) > maxMessage {
			return 0, errTooLong
		}
		return 0, nil
	}
	for line := range bytes.Lines(b[:head+2]) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		name = bytes.TrimSpace(name)
		if !ok || !bytes.EqualFold(name, []byte("Content-Length")) && !bytes.EqualFold(name, []byte("l")) {
			continue
		}
		n, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 31)
		if err != nil || n > maxMessage {
			return 0, errTooLong
		}
		return head + 4 + int(n), nil
	}
	return 0, errTooLong
}

// ping sends a keep-alive. When nothing is heard in time, the connection is dead.
func (s *connection) ping(text []byte) {
	s.mu.Lock()
	if !s.asked {
		s.asked = true
		s.expire = time.AfterFunc(pongWait, func() { _ = s.Close() })
	}
	s.mu.Unlock()
	if _, err := s.Write(text); err != nil {
		_ = s.Close() // its reader tells
	}
}

// heard notes that the server is there.
func (s *connection) heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = false
	if s.expire != nil {
		s.expire.Stop()
	}
}

// Close ends the connection.
func (s *connection) Close() error {
	s.heard()
	return s.Conn.Close()
}
