package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hotdeskd/admin"
)

// sippKeys is a phone that dials the login code, presses keys (%[1]s) and waits for the
// end of the call. It offers no telephone-event.
const sippKeys = `<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="keys">
<send retrans="500"><![CDATA[
INVITE sip:[field2]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
From: <sip:[field0]@[remote_ip]>;tag=[call_number]
To: <sip:[field2]@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:[field0]@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Length: 0

]]></send>
<recv response="401" auth="true"></recv>
<send><![CDATA[
ACK sip:[field2]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch-2];rport
From: <sip:[field0]@[remote_ip]>;tag=[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
<send retrans="500"><![CDATA[
INVITE sip:[field2]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
From: <sip:[field0]@[remote_ip]>;tag=[call_number]
To: <sip:[field2]@[remote_ip]>
Call-ID: [call_id]
CSeq: 2 INVITE
Contact: <sip:[field0]@[local_ip]:[local_port]>
Max-Forwards: 70
[field1]
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio [rtpstream_audio_port] RTP/AVP 8
a=rtpmap:8 PCMA/8000
]]></send>
<recv response="100" optional="true"></recv>
<recv response="180" optional="true"></recv>
<recv response="183" optional="true"></recv>
<recv response="200" rrs="true"></recv>
<send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
From: <sip:[field0]@[remote_ip]>;tag=[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 2 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
%[1]s<recv request="BYE"></recv>
<send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>
`

// infoKeys presses keys by INFO, each with the body that its format makes of it.
func infoKeys(kind, format, keys string) string {
	var b strings.Builder
	for n, key := range keys {
		fmt.Fprintf(&b, `<pause milliseconds="300"/>
<send retrans="500"><![CDATA[
INFO [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
From: <sip:[field0]@[remote_ip]>;tag=[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: %d INFO
Contact: <sip:[field0]@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Type: %s
Content-Length: [len]

%s
]]></send>
<recv response="200"></recv>
`, 3+n, kind, fmt.Sprintf(format, string(key)))
	}
	return b.String()
}

// keyTones is the A-law audio of keys: half a second of silence, then 100 ms of each
// and 100 ms of silence.
func keyTones(keys string) []byte {
	low, high := []float64{697, 770, 852, 941}, []float64{1209, 1336, 1477}
	b := make([]byte, 0, 8000)
	quiet := func(samples int) {
		for range samples {
			b = append(b, aLaw(0))
		}
	}
	quiet(4000)
	for _, key := range keys {
		at := strings.IndexRune("123456789*0#", key)
		for i := range 800 {
			w := 2 * math.Pi * float64(i) / 8000
			b = append(b, aLaw(6000*math.Sin(w*low[at/3])+6000*math.Sin(w*high[at%3])))
		}
		quiet(800)
	}
	quiet(4000)
	return b
}

// aLaw encodes a 16-bit sample (ITU-T G.711, table 1) by its definition: the segment,
// then 4 bits in it.
func aLaw(v float64) byte {
	sign := byte(0x80)
	if v < 0 {
		v, sign = -v, 0
	}
	n, segment := int(v)/8, 0
	for n >= 64<<segment && segment < 6 {
		segment++
	}
	if n < 32 {
		return (sign | byte(n/2)) ^ 0x55
	}
	return (sign | byte(segment+1)<<4 | byte(n>>(segment+1)&15)) ^ 0x55
}

// A PIN reaches the server in whatever way a phone sends digits: as RFC 4733 events, by
// INFO with either body, and as tones in the audio of a phone that offers no events.
// The user is logged in and the server ends the call.
func TestPeerDTMF(t *testing.T) {
	const pin = "4071#"
	for _, c := range []struct{ name, keys string }{
		{"RFC 4733", ""},
		{"INFO dtmf-relay", infoKeys("application/dtmf-relay", "Signal=%s\nDuration=160", pin)},
		{"INFO dtmf", infoKeys("application/dtmf", "%s", pin)},
		{"tones", "<pause milliseconds=\"500\"/>\n<nop><action><exec rtp_stream=\"tones.al,1,8\"/></action></nop>\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			needPeer(t, "sipp")
			needPeer(t, "baresip")
			t.Parallel()
			s := startServer(t)
			s.apply(office("127.0.0.1:9"))
			file := s.mustFetch(s.enrolment() + phoneMAC(0) + ".cfg")
			if c.keys == "" {
				b := startBaresip(t, file, "manual")
				s.awaitDevice("HD0001", "registered", registered)
				b.command("dial", "sip:*77*100*@"+s.app.ready.SIP.UDP)
				b.await(s, "CALL_ESTABLISHED", 0)
				b.press(pin)
				s.awaitDevice("HD0001", "in use by 100", inUseBy("100"))
				b.await(s, "CALL_CLOSED", 0)
				return
			}
			line := fmt.Sprintf("SEQUENTIAL\nHD0001;[authentication username=HD0001 password=%s];*77*100*\n", file.Value("account.1.password"))
			ports := freePorts(t, 1)
			phone, dir := sipp(t, fmt.Sprintf(sippKeys, c.keys), line, s.app.ready.SIP.UDP, "-m", "1", "-p", fmt.Sprint(ports[0]), "-auth_uri", s.app.ready.SIP.UDP)
			if err := os.WriteFile(filepath.Join(dir, "tones.al"), keyTones(pin), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := phone.Start(); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- phone.Wait() }()
			t.Cleanup(func() { _ = phone.Process.Kill() })
			s.awaitDevice("HD0001", "in use by 100", inUseBy("100"))
			within(t, 2*patience, "end of SIPp's call", func() bool {
				select {
				case <-done:
					return true
				default:
					return false
				}
			})
			if good := counted(t, dir, "SuccessfulCall(C)"); good != 1 {
				text, _ := os.ReadFile(filepath.Join(dir, "errors.log"))
				t.Errorf("SIPp's call did not go as it should:\n%.2000s", text)
			}
			s.awaitDevice("HD0001", "free", func(d admin.Device) bool { return !d.InCall })
		})
	}
}
