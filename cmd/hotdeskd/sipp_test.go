package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// Scenarios of SIPp, which nobody here wrote: a phone that calls, and a PBX that takes
// calls.
const (
	// sippPhone calls the number of its line with the device's own digest. %[1]d is how
	// long a call lasts in milliseconds.
	sippPhone = `<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="phone">
<send retrans="500"><![CDATA[
INVITE sip:[field2]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
From: <sip:[field0]@[remote_ip]>;tag=[call_number]
To: <sip:[field2]@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:[field0]@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 6000 RTP/AVP 8
]]></send>
<recv response="401" auth="true" rtd="true"></recv>
<send><![CDATA[
ACK sip:[field2]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
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
m=audio 6000 RTP/AVP 8
]]></send>
<recv response="100" optional="true"></recv>
<recv response="180" optional="true"></recv>
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
<pause milliseconds="%[1]d"/>
<send retrans="500"><![CDATA[
BYE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
From: <sip:[field0]@[remote_ip]>;tag=[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 3 BYE
Max-Forwards: 70
Content-Length: 0

]]></send>
<recv response="200"></recv>
</scenario>
`
	sippPBX = `<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="PBX">
<recv request="OPTIONS" optional="true" next="9"></recv>
<recv request="INVITE" crlf="true"></recv>
<send><![CDATA[
SIP/2.0 180 Ringing
[last_Via:]
[last_From:]
[last_To:];tag=[pid]p[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:pbx@[local_ip]:[local_port]>
Content-Length: 0

]]></send>
<send retrans="500"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=[pid]p[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:pbx@[local_ip]:[local_port]>
Allow: INVITE, ACK, BYE, CANCEL, OPTIONS
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 7000 RTP/AVP 8
]]></send>
<recv request="ACK"></recv>
<recv request="BYE"></recv>
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
</scenario>
`
)

// sipp starts SIPp in a folder of its own and returns it, with what it counts.
func sipp(t *testing.T, scenario, injected string, args ...string) (*exec.Cmd, string) {
	t.Helper()
	needPeer(t, "sipp")
	dir := t.TempDir()
	files := map[string]string{"scenario.xml": scenario}
	if injected != "" {
		files["lines.csv"] = injected
		args = append(args, "-inf", "lines.csv")
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// One process writes a line of counters each second.
	args = append([]string{"-sf", "scenario.xml", "-i", "127.0.0.1", "-nostdin", "-trace_stat", "-stf", "stat.csv", "-fd", "1", "-trace_err", "-error_file", "errors.log"}, args...)
	cmd := exec.Command("sipp", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TERM=dumb")
	return cmd, dir
}

// counted reads a cumulative counter from SIPp's last line.
func counted(t *testing.T, dir, name string) int {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "stat.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	r := csv.NewReader(f)
	r.Comma, r.FieldsPerRecord, r.LazyQuotes = ';', -1, true
	rows, err := r.ReadAll()
	if err != nil || len(rows) < 2 {
		t.Fatalf("SIPp's counters: %d rows, %v", len(rows), err)
	}
	for i, column := range rows[0] {
		if column == name {
			n, err := strconv.Atoi(rows[len(rows)-1][i])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("SIPp does not count %s", name)
	return 0
}

// sippLoad is how much calling TestPeerSIPpLoad does; HOTDESKD_LOAD=full is the size that
// docs/reference/performance.md has the figures of.
func sippLoad() (calls, perSecond int, each, extra time.Duration) {
	if os.Getenv("HOTDESKD_LOAD") == "full" {
		return 15_000, 50, 10 * time.Second, 6 * time.Minute // 500 are up at a time
	}
	return 200, 20, time.Second, time.Minute
}

// SIPp on both sides: phones that call through the server, each call from an address of
// its own, and the PBX that takes the calls. All but one in 15,000 go through, each
// leaves one record, and afterwards nothing is left: no leg, no goroutine, no memory
// beside what a server has that has worked for a while.
func TestPeerSIPpLoad(t *testing.T) {
	needPeer(t, "sipp") // alone: other tests have goroutines, too
	calls, rate, each, extra := sippLoad()
	port := freePorts(t, 1)[0]
	pbx, _ := sipp(t, sippPBX, "", "-p", strconv.Itoa(port))
	if err := pbx.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = pbx.Process.Kill()
		_ = pbx.Wait() // killed
	})
	s := startServer(t)
	s.apply(office(fmt.Sprintf("127.0.0.1:%d", port)))
	s.apply("users:\n  - {extension: \"100\", pbx: {name: main}}\n  - {extension: \"101\", pbx: {name: main}}\n  - {extension: \"102\", pbx: {name: main}}\n  - {extension: \"103\", pbx: {name: main}}\n")
	lines := "SEQUENTIAL\n"
	for n := range 4 {
		id := fmt.Sprintf("HD%04d", n+1)
		s.mustFetch(s.enrolment() + phoneMAC(n) + ".cfg")
		s.must("login", s.api.Post(s.context(), "/devices/"+id+"/login", map[string]string{"user": fmt.Sprint(100 + n)}, nil))
		f := s.mustFetch(s.device(id).ProvisioningURL + phoneMAC(n) + ".cfg")
		lines += fmt.Sprintf("%s;[authentication username=%s password=%s];0612345\n", id, id, f.Value("account.1.password"))
	}
	s.log.mute()
	run := func(calls int, each time.Duration) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(calls/rate)*time.Second+each+extra)
		defer cancel()
		phone, dir := sipp(t, fmt.Sprintf(sippPhone, each.Milliseconds()), lines, s.app.ready.SIP.UDP, "-t", "un", "-max_socket", "5000",
			"-r", strconv.Itoa(rate), "-m", strconv.Itoa(calls), "-l", strconv.Itoa(rate*int(each.Seconds()+2)), "-auth_uri", s.app.ready.SIP.UDP)
		if err := phone.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- phone.Wait() }()
		select {
		case <-done: // its exit status says whether a call failed; the counters say more
		case <-ctx.Done():
			_ = phone.Process.Kill()
			t.Fatal("SIPp does not come to an end")
		}
		good, bad := counted(t, dir, "SuccessfulCall(C)"), counted(t, dir, "FailedCall(C)")
		t.Logf("%d calls a second, %v each: %d good, %d failed", rate, each, good, bad)
		if good+bad != calls || bad > calls/15_000 {
			text, err := os.ReadFile(filepath.Join(dir, "errors.log"))
			t.Errorf("%d of %d calls failed (%v):\n%.2000s", calls-good, calls, err, text)
		}
		s.await("nobody in a call", func() bool {
			for n := range 4 {
				if s.device(fmt.Sprintf("HD%04d", n+1)).InCall {
					return false
				}
			}
			return true
		})
		<-time.NewTimer(34 * time.Second).C // the transactions' own memory (64*T1)
	}
	run(min(calls, 2000), time.Second) // what a server has that has worked for a while
	heap, goroutines := heapInUse(), runtime.NumGoroutine()
	run(calls, each)
	now, left := heapInUse(), runtime.NumGoroutine()
	t.Logf("heap %d -> %d KiB, goroutines %d -> %d", heap>>10, now>>10, goroutines, left)
	if left > goroutines+10 {
		t.Errorf("%d goroutines are left of %d", left, goroutines)
	}
	if limit := heap + heap/5; now > limit {
		t.Errorf("the heap was %d KiB and is %d", heap>>10, now>>10)
	}
}
