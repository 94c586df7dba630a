package simphone

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Values of Config.UnregisterOld.
const (
	// First un-REGISTERs the old identity before the new one is registered.
	First = "first"
	// Last un-REGISTERs the old identity after the new one is registered.
	Last = "last"
)

// Config describes one phone and how it behaves. Provision, MAC and Model are
// required.
type Config struct {
	// Provision is the URL that the phone was told, by DHCP option 66 or by hand.
	Provision string
	// MAC is its hardware address, in any spelling.
	MAC string
	// Model is its model id, such as "yealink-t46u".
	Model string
	// Transport of SIP: "udp", "tcp" or "tls"; empty for what the served file says.
	// It is as if somebody set it at the phone after every file: the server stays
	// the file's, and so does the port, but that TLS has the next one (5061 beside
	// 5060).
	Transport string
	// Local is the IP address that SIP and RTP are bound to; by default the one that
	// this machine reaches the server of Provision from.
	Local string
	// Step is told what the phone does, in order, never twice at a time, and
	// before State shows it. It must not call methods of the phone that wait.
	Step func(Step)

	// ChallengeNotify answers a check-sync with 401 first and takes only
	// credentials made with the phone's own SIP password.
	ChallengeNotify bool
	// NeverRefetch answers a check-sync with 200 and does not fetch.
	NeverRefetch bool
	// UnregisterOld says when the old identity is taken back after a change:
	// First, Last, or never when empty.
	UnregisterOld string
	// UnregisterOnExit hangs up and un-REGISTERs when Run ends; otherwise the
	// phone goes silent, as if its cable were pulled.
	UnregisterOnExit bool
	// AlwaysOption66 makes Provision win at every boot, whatever the file says,
	// as on phones that cannot turn the DHCP option off.
	AlwaysOption66 bool

	// AutoAnswer takes every call after RingFor.
	AutoAnswer bool
	// RejectWith refuses every call with this status, such as 486, after RingFor.
	// With neither the phone rings until Answer or Reject.
	RejectWith int
	// RingFor is how long it rings before AutoAnswer or RejectWith.
	RingFor time.Duration
	// Speak sends a tone in place of silence, so that the other side hears it.
	Speak bool

	// HoldPoll is how often a phone without an account asks again; 1 s by default.
	HoldPoll time.Duration
	// Retry is the pause after a failed boot or registration; 5 s by default. While
	// the server cannot be connected to it doubles, up to twelve times itself.
	Retry time.Duration
	// KeyTime is how long a key is held down; 100 ms by default, in steps of 20 ms.
	KeyTime time.Duration
	// KeyGap is the pause after a key; 60 ms by default, in steps of 20 ms.
	KeyGap time.Duration

	// CheckCertificates makes the phone check the server's certificates where its
	// vendor and its file say so. Otherwise it takes every one, as a phone does into
	// which the server's was loaded.
	CheckCertificates bool
	// Roots are the authorities that it knows then; those of this machine when nil.
	Roots *x509.CertPool
	// HTTP carries the provisioning requests; plain net/http by default.
	HTTP http.RoundTripper
	// ListenPacket opens the phone's sockets; net.ListenUDP by default.
	ListenPacket func(netip.AddrPort) (net.PacketConn, error)
	// Dial opens the phone's connections to its SIP server, from Local by default.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Step is one thing that the phone did. Detail holds no secret.
type Step struct {
	Time   time.Time
	Since  time.Duration // since Run began
	Name   string
	Detail map[string]string
}

var (
	// ErrConfig: the Config describes no phone that can be simulated.
	ErrConfig = errors.New("simulated phone")
	// ErrLocked: the phone's file lets nobody change this setting at the phone.
	ErrLocked = errors.New("the setting cannot be changed at the phone")
	// ErrNoAccount: no file has given the phone an account yet.
	ErrNoAccount = errors.New("the phone has no account")
	// ErrStopped: Run has ended, or was never called.
	ErrStopped = errors.New("the phone is switched off")
	// ErrOver: the call has ended.
	ErrOver = errors.New("the call is over")
	// ErrNotRinging: the call has been answered or refused already.
	ErrNotRinging = errors.New("the call does not ring here")
	// ErrKeys: the keys cannot be sent.
	ErrKeys = errors.New("keys cannot be pressed")
	// ErrProvision: the phone could not load its configuration.
	ErrProvision = errors.New("no configuration")
	// ErrMedia: the two sides have no codec or no address in common.
	ErrMedia = errors.New("no common media")
)

// Refused is a final response other than 2xx.
type Refused struct {
	Status int
	Reason string
}

func (r *Refused) Error() string { return fmt.Sprintf("refused: %d %s", r.Status, r.Reason) }

// withDefaults checks the config and fills in what was left out.
func (c Config) withDefaults() (Config, error) {
	u, err := url.Parse(c.Provision)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return c, fmt.Errorf("%w: the provisioning URL must be http://… or https://…", ErrConfig)
	}
	if !strings.HasSuffix(c.Provision, "/") {
		c.Provision += "/"
	}
	if c.MAC, err = plainMAC(c.MAC); err != nil {
		return c, err
	}
	if c.Transport != "" && c.Transport != "udp" && c.Transport != "tcp" && c.Transport != "tls" {
		return c, fmt.Errorf("%w: the transport is udp, tcp or tls, not %q", ErrConfig, c.Transport)
	}
	if c.UnregisterOld != "" && c.UnregisterOld != First && c.UnregisterOld != Last {
		return c, fmt.Errorf("%w: the old identity is un-registered %q or %q, not %q", ErrConfig, First, Last, c.UnregisterOld)
	}
	if c.RejectWith != 0 && (c.RejectWith < 300 || c.RejectWith > 699) {
		return c, fmt.Errorf("%w: a call cannot be refused with %d", ErrConfig, c.RejectWith)
	}
	if c.Local == "" && c.ListenPacket == nil {
		if c.Local, err = towards(u); err != nil {
			return c, err
		}
	}
	c.Local = cmp.Or(c.Local, "127.0.0.1")
	local, err := netip.ParseAddr(c.Local)
	if err != nil || local.IsUnspecified() {
		return c, fmt.Errorf("%w: the local address must be one IP address, not %q", ErrConfig, c.Local)
	}
	if c.Step == nil {
		c.Step = func(Step) {}
	}
	if c.ListenPacket == nil {
		c.ListenPacket = listenUDP
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))}).DialContext
	}
	orDefault(&c.HoldPoll, time.Second)
	orDefault(&c.Retry, 5*time.Second)
	orDefault(&c.KeyTime, 100*time.Millisecond)
	orDefault(&c.KeyGap, 60*time.Millisecond)
	return c, nil
}

func orDefault(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}

// towards is the address that this machine reaches a server from. A phone trusts
// its server's address only, so it must not be called from another one. Nothing is
// sent: connecting a datagram socket asks the routing table.
func towards(server *url.URL) (string, error) {
	c, err := net.Dial("udp", net.JoinHostPort(server.Hostname(), cmp.Or(server.Port(), "80")))
	if err != nil {
		return "", fmt.Errorf("%w: the server of the provisioning URL cannot be reached: %w", ErrConfig, err)
	}
	local := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().String()
	return local, c.Close()
}

func listenUDP(at netip.AddrPort) (net.PacketConn, error) {
	return net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
}

// plainMAC writes a hardware address as 12 lower-case hex digits.
func plainMAC(text string) (string, error) {
	mac := strings.ToLower(strings.NewReplacer(":", "", "-", "", ".", "").Replace(text))
	if len(mac) != 12 || strings.Trim(mac, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%w: %q is no MAC address", ErrConfig, text)
	}
	return mac, nil
}
