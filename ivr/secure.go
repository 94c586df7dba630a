package ivr

import (
	"crypto/rand"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// sdes is one a=crypto line (RFC 4568 section 9.1) that can be used. The zero value
// is none. It is a secret: it is written into session descriptions and nowhere else.
type sdes struct {
	tag, suite string
	key        string // master key and salt
	mki        string
}

const (
	masterKey  = 16
	masterSalt = 14
	maxMKI     = 128
)

// suites are the crypto suites that we speak (RFC 4568 section 6.2).
var suites = map[string]srtp.ProtectionProfile{
	"AES_CM_128_HMAC_SHA1_80": srtp.ProtectionProfileAes128CmHmacSha1_80,
	"AES_CM_128_HMAC_SHA1_32": srtp.ProtectionProfileAes128CmHmacSha1_32,
}

// readCrypto reads the value of an a=crypto line; false: it is not for us. Session
// parameters change what is sent, so a line with one that we do not know is not for
// us (section 6.3.7); a window size is only advice, and so is what begins with "-".
// A line with several keys is left alone too: it is for parties that change keys
// within a call.
func readCrypto(value string) (sdes, bool) {
	f := strings.Fields(value)
	if len(f) < 3 {
		return sdes{}, false
	}
	c := sdes{tag: f[0], suite: strings.ToUpper(f[1])}
	if n, err := strconv.ParseUint(c.tag, 10, 32); err != nil || n > 999999999 || len(c.tag) > 9 {
		return sdes{}, false
	}
	if _, ok := suites[c.suite]; !ok {
		return sdes{}, false
	}
	for _, p := range f[3:] {
		if !strings.HasPrefix(p, "-") && !strings.HasPrefix(strings.ToUpper(p), "WSH=") {
			return sdes{}, false
		}
	}
	method, info, _ := strings.Cut(f[2], ":")
	if !strings.EqualFold(method, "inline") || strings.Contains(info, ";") {
		return sdes{}, false
	}
	parts := strings.Split(info, "|") // the key, then a lifetime or an MKI or both
	key, err := base64.StdEncoding.DecodeString(parts[0])
	if err != nil || len(key) != masterKey+masterSalt || len(parts) > 3 {
		return sdes{}, false
	}
	c.key = string(key)
	for _, p := range parts[1:] {
		if value, size, ok := strings.Cut(p, ":"); ok {
			if c.mki, ok = readMKI(value, size); !ok {
				return sdes{}, false
			}
		}
	}
	return c, true
}

// readMKI is a number, big-endian in so many bytes.
func readMKI(value, size string) (string, bool) {
	n, err := strconv.ParseUint(value, 10, 64)
	bytes, sizeErr := strconv.ParseUint(size, 10, 8)
	if err != nil || sizeErr != nil || bytes == 0 || bytes > maxMKI || bytes < 8 && n>>(8*bytes) != 0 {
		return "", false
	}
	mki := make([]byte, bytes)
	for i := len(mki) - 1; i >= 0; i-- {
		mki[i] = byte(n)
		n >>= 8
	}
	return string(mki), true
}

// line is the a=crypto line of a key of ours.
func (c sdes) line() string {
	return "a=crypto:" + c.tag + " " + c.suite + " inline:" + base64.StdEncoding.EncodeToString([]byte(c.key)) + "\r\n"
}

// ownSDES makes a key for a suite.
func ownSDES(tag, suite string) sdes {
	key := make([]byte, masterKey+masterSalt)
	_, _ = rand.Read(key) // it does not fail
	return sdes{tag: tag, suite: suite, key: string(key)}
}

// isSecure tells whether a transport is SRTP with keys in the description.
func isSecure(proto string) bool {
	return strings.EqualFold(proto, "RTP/SAVP") || strings.EqualFold(proto, "RTP/SAVPF")
}

// context is what one side does with a key.
func (c sdes) context() (*srtp.Context, error) {
	return srtp.CreateContext([]byte(c.key[:masterKey]), []byte(c.key[masterKey:]), suites[c.suite],
		srtp.SRTPReplayProtection(64), srtp.MasterKeyIndicator([]byte(c.mki)))
}

// shield is SRTP (RFC 3711) on a call: nothing leaves in the clear, and what does
// not prove to come from the phone is dropped.
type shield struct {
	ours, theirs sdes
	out, in      *srtp.Context
	header       rtp.Header // of what is being sealed
	opened       rtp.Header
	plain        []byte
}

func newShield(ours, theirs sdes) (*shield, error) {
	out, err := ours.context()
	if err != nil {
		return nil, err
	}
	in, err := theirs.context()
	if err != nil {
		return nil, err
	}
	return &shield{ours: ours, theirs: theirs, out: out, in: in}, nil
}

// seal encrypts a packet into dst, which has room for it.
func (s *shield) seal(dst, packet []byte) ([]byte, error) {
	return s.out.EncryptRTP(dst, packet, &s.header)
}

// open decrypts a packet; nil: it is not the phone's. What is returned is good until
// the next call.
func (s *shield) open(packet []byte) []byte {
	plain, err := s.in.DecryptRTP(s.plain, packet, &s.opened)
	if err != nil {
		return nil
	}
	s.plain = plain
	return plain
}
