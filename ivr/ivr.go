package ivr

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"

	"hotdeskd/hotdesk"
	"hotdeskd/sounds"
)

// ErrBusy: there are as many conversations as allowed, or no RTP port is free.
// In SIP it is 503 with Retry-After.
var ErrBusy = errors.New("too many conversations")

// DefaultMaxCalls is the limit of conversations at once when Options has none.
const DefaultMaxCalls = 200

// Desk is what the conversation needs of the rules; hotdesk's service satisfies it.
type Desk interface {
	// Phone returns the device with its user, site and language.
	Phone(id hotdesk.DeviceID) (hotdesk.Phone, error)
	// Code reads what was dialled at a device as a hot-desk code.
	Code(id hotdesk.DeviceID, dialed string) (hotdesk.Code, bool)
	// Locked tells whether the device is locked out after too many wrong PINs.
	Locked(id hotdesk.DeviceID) bool
	Login(context.Context, hotdesk.LoginRequest) (hotdesk.LoginResult, error)
	Logout(context.Context, hotdesk.LogoutRequest) (hotdesk.LogoutResult, error)
	ChangePIN(context.Context, hotdesk.ChangePINRequest) error
}

// Options are the settings of a Menu. Sounds is required; everything else has a
// default that suits a server on one network.
type Options struct {
	Sounds *sounds.Set
	// Ports is the range of RTP ports; the zero value is 20000-20999.
	Ports PortRange
	// Advertise gives the address that a phone is told to send its audio to. Nil,
	// or a result that is not valid, means the address its call came in on.
	Advertise func(peer netip.Addr) netip.Addr
	// MaxCalls is the limit of conversations at once; zero means DefaultMaxCalls.
	MaxCalls int
	// Log gets one line for each conversation, never a key that was pressed. Nil
	// discards.
	Log *slog.Logger
	// Listen opens the sockets. Nil means UDP with the DSCP mark of voice.
	Listen func(netip.AddrPort) (net.PacketConn, error)
}

// Menu holds conversations with people at phones. It is safe for any number of
// calls at once.
type Menu struct {
	desk      Desk
	sounds    *sounds.Set
	ports     *ports
	advertise func(netip.Addr) netip.Addr
	log       *slog.Logger
}

// New builds a Menu. It opens no socket and starts nothing; it fails only when
// the options contradict themselves.
func New(desk Desk, opts Options) (*Menu, error) {
	if desk == nil || opts.Sounds == nil {
		return nil, errors.New("ivr: the rules and the sounds are required")
	}
	if opts.MaxCalls == 0 {
		opts.MaxCalls = DefaultMaxCalls
	}
	if opts.Listen == nil {
		opts.Listen = listenUDP
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	ports, err := newPorts(opts.Ports, opts.MaxCalls, opts.Listen)
	if err != nil {
		return nil, fmt.Errorf("ivr: %w", err)
	}
	return &Menu{desk: desk, sounds: opts.Sounds, ports: ports, advertise: opts.Advertise, log: opts.Log}, nil
}

// Lines is how many conversations there can be at once.
func (m *Menu) Lines() int { return min(m.ports.max, m.ports.pairs) }

// Visit is one call that reached the server.
type Visit struct {
	CallID string // of the SIP dialog; the rules do not count this call as "in a call"
	Device hotdesk.DeviceID
	Dialed string // the hot-desk code
	// Reason is empty for a hot-desk code. Otherwise the call is refused, and the
	// reason ("idle", "no_pbx", ...) is spoken instead of what was dialled.
	Reason string
	Source netip.Addr // where the signalling came from
	Local  netip.Addr // the address of ours that it came to
	Secure bool       // the signalling is encrypted: SRTP may be agreed on
	// Show, if not nil, gets a short text for the phone's display at each state. It
	// is called from Run's goroutine and never gets a digit of a PIN.
	Show func(string)
}

// Attend takes a call: it reserves the sockets and returns the conversation,
// which the caller must Close, whether or not it was run. It returns ErrBusy when
// no call more can be taken.
func (m *Menu) Attend(_ context.Context, v Visit) (*Conversation, error) {
	told := netip.Addr{}
	if m.advertise != nil {
		told = m.advertise(v.Source)
	}
	local := v.Local.Unmap().WithZone("")
	if !told.IsValid() {
		told = local
	}
	told = told.Unmap().WithZone("")
	if !told.IsValid() || told.IsUnspecified() {
		return nil, fmt.Errorf("attend %s: no address to tell the phone", v.Device)
	}
	if local.IsValid() && !local.IsUnspecified() && local.Is4() != told.Is4() {
		// The setting speaks of the other family. Audio follows the signalling: a
		// phone that reaches us by one family need not have the other.
		told = local
	}
	if !local.IsValid() {
		local = netip.IPv4Unspecified()
		if told.Is6() {
			local = netip.IPv6Unspecified()
		}
	}
	conn, rtcp, port, err := m.ports.open(local)
	if err != nil {
		return nil, fmt.Errorf("attend %s: %w", v.Device, err)
	}
	return &Conversation{
		menu: m, visit: v, port: port, told: netip.AddrPortFrom(told, port),
		session: newSession(conn, rtcp, v.Source.Unmap().WithZone("")),
		// Random, so that two calls never look like one (RFC 8866 section 5.2);
		// 62 bits, because some phones read it as a signed number.
		id: rand.Uint64() >> 2,
	}, nil
}

// listenUDP opens an IPv4 or an IPv6 socket, as the address says.
func listenUDP(addr netip.AddrPort) (net.PacketConn, error) {
	network := "udp4"
	if addr.Addr().Is6() {
		network = "udp6"
	}
	lc := net.ListenConfig{Control: markVoice}
	conn, err := lc.ListenPacket(context.Background(), network, addr.String())
	if err != nil {
		return nil, err
	}
	if udp, ok := conn.(*net.UDPConn); ok {
		_ = udp.SetReadBuffer(64 << 10) // a second and more of packets; a wish
	}
	return conn, nil
}
