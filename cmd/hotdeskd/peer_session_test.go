package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hotdeskd/admin"
)

// sippSession is a phone that requires reliable ringing and a session timer of 90 s,
// refreshes the session once and never again, and waits to be told that the call has
// ended.
const sippSession = `<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="session">
<send retrans="500"><![CDATA[
INVITE sip:[field2]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
From: <sip:[field0]@[remote_ip]>;tag=[call_number]
To: <sip:[field2]@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:[field0]@[local_ip]:[local_port]>
Require: timer, 100rel
Session-Expires: 90;refresher=uac
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
Require: timer, 100rel
Session-Expires: 90;refresher=uac
Allow: INVITE, ACK, BYE, CANCEL, PRACK, UPDATE
Max-Forwards: 70
[field1]
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 6000 RTP/AVP 8
]]></send>
<recv response="100" optional="true"></recv>
<recv response="183" rrs="true"><action>
<ereg regexp="100rel" search_in="hdr" header="Require:" check_it="true" assign_to="1"/>
<ereg regexp="[0-9]+" search_in="hdr" header="RSeq:" check_it="true" assign_to="2"/>
<ereg regexp="m=audio 7000" search_in="body" check_it="true" assign_to="3"/>
</action></recv>
<send retrans="500"><![CDATA[
PRACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
From: <sip:[field0]@[remote_ip]>;tag=[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 3 PRACK
RAck: [$2] 2 INVITE
Max-Forwards: 70
Content-Length: 0

]]></send>
<recv response="200"></recv>
<recv response="200" rrs="true"><action>
<ereg regexp="90 *; *refresher=uac" search_in="hdr" header="Session-Expires:" check_it="true" assign_to="4"/>
</action></recv>
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
<pause milliseconds="1000"/>
<send retrans="500"><![CDATA[
UPDATE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
From: <sip:[field0]@[remote_ip]>;tag=[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 4 UPDATE
Contact: <sip:[field0]@[local_ip]:[local_port]>
Supported: timer
Session-Expires: 90;refresher=uac
Max-Forwards: 70
Content-Length: 0

]]></send>
<recv response="200"><action>
<ereg regexp="90 *; *refresher=uac" search_in="hdr" header="Session-Expires:" check_it="true" assign_to="5"/>
</action></recv>
<recv request="BYE" timeout="80000"></recv>
<send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
<Reference variables="1,3,4,5"/>
</scenario>
`

// sippReliable is a PBX whose early audio is reliable: it answers once that has been
// acknowledged, sends an UPDATE without a body, and waits for the end of the call.
const sippReliable = `<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="reliable">
<recv request="OPTIONS" optional="true" next="9"></recv>
<recv request="INVITE" rrs="true"><action>
<ereg regexp="100rel" search_in="hdr" header="Supported:" check_it="true" assign_to="3"/>
<ereg regexp=".*" search_in="hdr" header="Via:" assign_to="5"/>
<ereg regexp=".*" search_in="hdr" header="CSeq:" assign_to="6"/>
</action></recv>
<send><![CDATA[
SIP/2.0 183 Session Progress
[last_Via:]
[last_From:]
[last_To:];tag=[pid]p[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:pbx@[local_ip]:[local_port]>
Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE
Require: 100rel
RSeq: 7001
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 7000 RTP/AVP 8
]]></send>
<recv request="PRACK"><action>
<ereg regexp="7001 +[0-9]+ +INVITE" search_in="hdr" header="RAck:" check_it="true" assign_to="4"/>
</action></recv>
<send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
<pause milliseconds="500"/>
<send retrans="500"><![CDATA[
SIP/2.0 200 OK
Via:[$5]
[last_From:]
[last_To:]
[last_Call-ID:]
CSeq:[$6]
Contact: <sip:pbx@[local_ip]:[local_port]>
Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 7000 RTP/AVP 8
]]></send>
<recv request="ACK"><action>
<ereg regexp=".*" search_in="hdr" header="From:" assign_to="1"/>
<ereg regexp=".*" search_in="hdr" header="To:" assign_to="2"/>
</action></recv>
<pause milliseconds="300"/>
<send retrans="500"><![CDATA[
UPDATE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From:[$2]
To:[$1]
Call-ID: [call_id]
CSeq: 1 UPDATE
Contact: <sip:pbx@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Length: 0

]]></send>
<recv response="200"></recv>
<recv request="BYE" timeout="80000"></recv>
<send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
<nop next="8"/>
<label id="9"/>
<send next="8"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=o
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
<label id="8"/>
<nop/>
<Reference variables="3,4"/>
</scenario>
`

// A phone that requires a session timer and reliable ringing gets both, and so does a
// PBX that rings reliably: each provisional response is acknowledged. An UPDATE without
// a body is answered, whoever sends it. When the phone has not refreshed its session the
// call ends on both sides, a minute after the last time.
func TestPeerSession(t *testing.T) {
	needPeer(t, "sipp")
	t.Parallel()
	ports := freePorts(t, 2)
	s := startServer(t)
	s.apply(office(fmt.Sprintf("127.0.0.1:%d", ports[0])))
	s.apply("users:\n  - {extension: \"100\", pbx: {name: main}}\n")
	pbx, pbxDir := sipp(t, sippReliable, "", "-p", fmt.Sprint(ports[0]))
	if err := pbx.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = pbx.Process.Kill()
		_ = pbx.Wait() // killed
	})
	s.mustFetch(s.enrolment() + phoneMAC(0) + ".cfg")
	s.must("login", s.api.Post(s.context(), "/devices/HD0001/login", map[string]string{"user": "100"}, nil))
	file := s.mustFetch(s.device("HD0001").ProvisioningURL + phoneMAC(0) + ".cfg")
	line := fmt.Sprintf("SEQUENTIAL\nHD0001;[authentication username=HD0001 password=%s];0612345\n", file.Value("account.1.password"))
	phone, dir := sipp(t, sippSession, line, s.app.ready.SIP.UDP, "-m", "1", "-p", fmt.Sprint(ports[1]), "-auth_uri", s.app.ready.SIP.UDP)
	if err := phone.Start(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- phone.Wait() }()
	t.Cleanup(func() { _ = phone.Process.Kill() })
	s.awaitDevice("HD0001", "in a call", func(d admin.Device) bool { return d.InCall })
	within(t, 75*time.Second, "end of the phone's call", func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
	lasted := time.Since(began)
	<-time.NewTimer(1200 * time.Millisecond).C // SIPp writes its counters each second
	for who, at := range map[string]string{"phone": dir, "PBX": pbxDir} {
		if bad := counted(t, at, "FailedCall(C)"); bad != 0 {
			text, _ := os.ReadFile(filepath.Join(at, "errors.log"))
			t.Errorf("%s: the call did not go as it should:\n%.3000s", who, text)
		}
	}
	if up := counted(t, pbxDir, "CurrentCall"); up != 0 {
		t.Errorf("%d calls are up at the PBX", up)
	}
	if good := counted(t, dir, "SuccessfulCall(C)"); good != 1 {
		t.Errorf("the phone has %d good calls", good)
	}
	if lasted < 55*time.Second {
		t.Errorf("the call ended %s after its begin", lasted)
	}
	if c := s.awaitCalls(1)[0]; c.Result != "answered" || c.Reason != "session_expired" {
		t.Errorf("recorded as %+v", c)
	}
}
