package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"hotdeskd/admin"
	"hotdeskd/internal/certs"
)

// host is the machine as the doctor examines it.
type host struct {
	config     config
	advertised string // host that phones are told for SIP
	url        string // that phones are told for their files
	certs      *certs.Certificates
	now        func() time.Time
}

const (
	littleDisk    = 500 << 20           // bytes free under which the store and the journal are in danger
	expiresSoon   = 30 * 24 * time.Hour // of a certificate
	filesPerPhone = 3                   // connections: SIP, HTTP, and one to spare
)

// examine looks at disk, clock, ports, addresses and certificates.
func (h host) examine(context.Context) []admin.Finding {
	return append([]admin.Finding{h.disk(), h.clock(), h.ports(), h.openFiles()}, h.addresses()...)
}

func finding(check, subject, text string) admin.Finding {
	return admin.Finding{Check: check, Subject: subject, State: admin.FindingOK, Text: text}
}

// bad turns a finding into one that wants something done.
func bad(f admin.Finding, state, text, fix string) admin.Finding {
	f.State, f.Text, f.Fix = state, text, fix
	return f
}

func (h host) disk() admin.Finding {
	f := finding("disk", h.config.DataDir, "")
	var st unix.Statfs_t
	if err := unix.Statfs(h.config.DataDir, &st); err != nil {
		return bad(f, admin.FindingProblem, err.Error(), "see to the data directory")
	}
	free := st.Bavail * uint64(st.Bsize)
	f.Text = fmt.Sprintf("%d MB free", free>>20)
	if free < littleDisk {
		return bad(f, admin.FindingProblem, f.Text, "make room: without it no login is written and call records are lost")
	}
	return f
}

// clock asks the kernel whether something keeps the time right (adjtimex(2)).
// Sessions end by it, digest nonces and certificates depend on it.
func (h host) clock() admin.Finding {
	f := finding("clock", "", "synchronised")
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return bad(f, admin.FindingWarning, "cannot be examined: "+err.Error(), "")
	}
	if state == unix.TIME_ERROR {
		return bad(f, admin.FindingWarning, "no time service keeps this machine's clock right; logouts by the clock and certificates depend on it", "switch one on: timedatectl set-ntp true")
	}
	return f
}

func (h host) ports() admin.Finding {
	f := finding("rtp", h.config.RTP.Ports, "")
	r, err := h.config.RTP.portRange()
	if err != nil {
		return bad(f, admin.FindingProblem, err.Error(), "")
	}
	busy := 0
	total := int(r.Last) - int(r.First) + 1
	for port := int(r.First); port <= int(r.Last); port++ {
		c, err := net.ListenPacket("udp", fmt.Sprint(":", port))
		if err != nil {
			busy++
			continue
		}
		if err := c.Close(); err != nil {
			return bad(f, admin.FindingWarning, err.Error(), "")
		}
	}
	f.Text = fmt.Sprintf("%d of %d ports free for logins by telephone", total-busy, total)
	if total-busy < 10 {
		return bad(f, admin.FindingProblem, f.Text, "give rtp.ports a range that nothing else uses, like 20000-20999, and open it in the firewall for UDP")
	}
	return f
}

func (h host) openFiles() admin.Finding {
	f := finding("open files", "", "")
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return bad(f, admin.FindingWarning, err.Error(), "")
	}
	f.Text = fmt.Sprintf("%d may be open, enough for %d phones on TCP or TLS", limit.Cur, limit.Cur/filesPerPhone)
	if limit.Cur < 1024 {
		return bad(f, admin.FindingWarning, f.Text, "raise it: LimitNOFILE=65536 in the service's unit, or ulimit -n 65536")
	}
	return f
}

// addresses says what phones are told, where that cannot be reached from another
// machine, and until when the certificates last.
func (h host) addresses() (all []admin.Finding) {
	for key, told := range map[string]string{"provisioning.url": hostOfURL(h.url), "sip.advertise": h.advertised} {
		if told == "" {
			continue
		}
		f := finding("address", key, "phones are told "+told)
		addr, err := netip.ParseAddr(told)
		switch {
		case err == nil && addr.IsLoopback():
			f = bad(f, admin.FindingWarning, f.Text+", which only this machine reaches", "set "+key+" to an address of this machine in the phones' network")
		case err != nil:
			if _, lookup := net.LookupHost(told); lookup != nil {
				f = bad(f, admin.FindingProblem, f.Text+", which has no address ("+lookup.Error()+")", "mend the name in DNS, or set "+key+" to an address")
			}
		}
		all = append(all, f)
	}
	if h.certs != nil {
		until := h.certs.Until()
		f := finding("certificate", "", "good until "+until.UTC().Format(time.DateOnly))
		switch left := until.Sub(h.now()); {
		case left <= 0:
			f = bad(f, admin.FindingProblem, "expired on "+until.UTC().Format(time.DateOnly)+"; phones on TLS and browsers refuse it", "put a new one into "+h.config.DataDir+"/tls and send SIGHUP")
		case left < expiresSoon:
			f = bad(f, admin.FindingWarning, f.Text, "put a new one into "+h.config.DataDir+"/tls and send SIGHUP")
		}
		all = append(all, f)
	}
	return all
}

// doctorCommand prints the diagnosis; a problem is exit status 1.
func doctorCommand(f *clientFlags) *cobra.Command {
	var all bool
	c := &cobra.Command{Use: "doctor", Short: "Examine everything and say what to do", Args: exactly(0), RunE: func(cmd *cobra.Command, _ []string) error {
		c, err := f.client()
		if err != nil {
			return err
		}
		d, err := admin.Get[admin.Diagnosis](cmd.Context(), c, "/doctor")
		if err != nil {
			return err
		}
		problems := 0
		for _, x := range d.Items {
			if x.State == admin.FindingProblem {
				problems++
			}
		}
		if f.json {
			err = printJSON(cmd.OutOrStdout(), d)
		} else {
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			for _, x := range d.Items {
				if x.State == admin.FindingOK && !all {
					continue
				}
				fmt.Fprintf(w, "%s\t%s\t%s\n", x.State, strings.TrimSpace(x.Check+" "+x.Subject), x.Text)
				if x.Fix != "" {
					fmt.Fprintf(w, "\t\t-> %s\n", x.Fix)
				}
			}
			err = w.Flush()
			if err == nil && problems == 0 {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "no problems; %d things examined (--all shows them)\n", len(d.Items))
			}
		}
		if err == nil && problems > 0 {
			err = fmt.Errorf("%s; what to do stands behind the arrows", count(problems, "problem"))
		}
		return err
	}}
	c.Flags().BoolVar(&all, "all", false, "show also what is all right")
	return c
}

// count is "1 problem" or "2 problems".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
