package memnet

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
)

// parcel is what was sent at once: a packet, or a piece of a stream.
type parcel struct {
	at   time.Time // when it arrives
	from netip.AddrPort
	data []byte
	last bool // the end of a stream
}

// mailbox holds what is on its way to one reader, who waits for it. Waiting here,
// and not in a goroutine for each parcel, keeps the order of those that arrive at
// one time.
type mailbox struct {
	mu       sync.Mutex
	queue    []parcel // by arrival
	deadline time.Time
	closed   bool
	news     chan struct{} // closed, and made anew, at every change
}

func newMailbox() *mailbox { return &mailbox{news: make(chan struct{})} }

// change tells the readers. The caller holds the lock.
func (m *mailbox) change() {
	close(m.news)
	m.news = make(chan struct{})
}

// put adds a parcel behind all that arrive before it or with it.
func (m *mailbox) put(p parcel) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	i := len(m.queue)
	for i > 0 && m.queue[i-1].at.After(p.at) {
		i--
	}
	m.queue = slices.Insert(m.queue, i, p)
	m.change()
}

// take waits for the next parcel and shows it to read, which tells whether it is
// used up.
func (m *mailbox) take(read func(*parcel) (done bool)) error {
	for {
		m.mu.Lock()
		now, wake := time.Now(), m.deadline
		switch {
		case m.closed:
			m.mu.Unlock()
			return net.ErrClosed
		case !wake.IsZero() && !now.Before(wake):
			m.mu.Unlock()
			return os.ErrDeadlineExceeded
		case len(m.queue) > 0 && !now.Before(m.queue[0].at):
			if read(&m.queue[0]) {
				m.queue = m.queue[1:]
			}
			m.mu.Unlock()
			return nil
		case len(m.queue) > 0 && (wake.IsZero() || m.queue[0].at.Before(wake)):
			wake = m.queue[0].at
		}
		news := m.news
		m.mu.Unlock()
		wait(news, wake)
	}
}

// wait returns at a time, if there is one, or when news is closed.
func wait(news <-chan struct{}, at time.Time) {
	if at.IsZero() {
		<-news
		return
	}
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-news:
	case <-timer.C:
	}
}

// expire sets the time after which reading fails; zero is never.
func (m *mailbox) expire(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deadline = at
	m.change()
}

// close ends reading; false means that it was closed before.
func (m *mailbox) close() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.closed, m.queue = true, nil
	m.change()
	return true
}

func (m *mailbox) isClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}
