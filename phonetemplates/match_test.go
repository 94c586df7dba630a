package phonetemplates

import "testing"

// Requests are recognised by the file's name in any case, and nothing else is;
// the User-Agent only says the model.
func TestMatch(t *testing.T) {
	s := mustLoad(t)
	const t46u = "Yealink SIP-T46U 108.86.0.20 80:5e:c0:00:00:01"
	for _, c := range []struct {
		file, agent string
		want        Request
		ok          bool
	}{
		{"805ec0000001.cfg", t46u, Request{"yealink", Own, "805ec0000001", "yealink-t46u", ""}, true},
		{"805EC0000001.CFG", "curl/8", Request{"yealink", Own, "805ec0000001", "", ""}, true},
		{"y000000000108.cfg", t46u, Request{"yealink", Common, "805ec0000001", "yealink-t46u", ""}, true},
		{"y000000000108.cfg", "", Request{"yealink", Common, "", "", ""}, true},
		{"y000000000000.boot", t46u, Request{"yealink", Absent, "805ec0000001", "yealink-t46u", ""}, true},
		{"805ec0000001.boot", "", Request{"yealink", Absent, "805ec0000001", "", ""}, true},
		{"805ec0000001-local.cfg", "", Request{"yealink", Absent, "805ec0000001", "", ""}, true},
		{"805ec0000001.cfg", "Yealink W90DM 130.87.0.10 80:5e:c0:d9:c7:44", Request{"yealink", Own, "805ec0000001", "yealink-w90dm", "dect-base"}, true},
		{"snomD785-000413000002.htm", "Mozilla/4.0 (compatible; snomD785-SIP 10.1.33.33 2010.12-00004-g9ba52f5 000413922D24 SXM:0 UXM:0)", Request{"snom", Own, "000413000002", "snom-d785", ""}, true},
		{"snomd785-000413000002.HTM", "", Request{"snom", Own, "000413000002", "snom-d785", ""}, true},
		{"snomD999-000413000002.htm", "", Request{"snom", Own, "000413000002", "", ""}, true},
		{"snomM900-000413b60680.htm", "", Request{"snom", Own, "000413b60680", "snom-m900", "dect-base"}, true},
		{"snomD785.htm", "Mozilla/4.0 (compatible; snomD785-SIP 10.1.33.33 2010.12-00004-g9ba52f5 000413922D24 SXM:0 UXM:0)", Request{"snom", Common, "000413922d24", "snom-d785", ""}, true},
		{"snomD785-firmware.htm", "", Request{"snom", Absent, "", "snom-d785", ""}, true},
		{"cfgc074ad000003.xml", "Grandstream Model HW GRP2614 SW 1.0.5.15 DevId c074ad000003", Request{"grandstream", Own, "c074ad000003", "grandstream-grp2614", ""}, true},
		{"cfgc074ad000003", "", Request{"grandstream", Absent, "c074ad000003", "", ""}, true},
		{"cfgc074ad000003.bin", "", Request{"grandstream", Absent, "c074ad000003", "", ""}, true},
		{"cfggrp2614.xml", "", Request{"grandstream", Common, "", "grandstream-grp2614", ""}, true},
		{"cfg.xml", "Grandstream Model HW GRP2614 SW 1.0.5.15 DevId c074ad000003", Request{"grandstream", Common, "c074ad000003", "grandstream-grp2614", ""}, true},
		{"cfgc074ad000003.xml", "Grandstream Model HW DP750 SW 1.0.3.1 DevId c074ad000003", Request{"grandstream", Own, "c074ad000003", "grandstream-dp750", "dect-base"}, true},
		{"../805ec0000001.cfg", "", Request{}, false},
		{"805ec000000g.cfg", "", Request{}, false},
		{"x805ec0000001.cfg", "", Request{}, false},
		{"805ec0000001.cfg.bak", "", Request{}, false},
		{"passwd", t46u, Request{}, false},
	} {
		got, ok := s.Match(c.file, c.agent)
		if ok != c.ok || got != c.want {
			t.Errorf("%s: %+v %v, want %+v %v", c.file, got, ok, c.want, c.ok)
		}
	}
}

// Every User-Agent that was seen in the field names its vendor, model and MAC.
func TestUserAgents(t *testing.T) {
	s := mustLoad(t)
	for _, c := range []struct{ agent, vendor, model, mac string }{
		{"Yealink SIP-T77U 185.87.0.10 44:db:d2:bd:b5:69", "yealink", "T77U", "44dbd2bdb569"},
		{"Yealink W90DM 130.87.0.10 80:5e:c0:d9:c7:44", "yealink", "W90DM", "805ec0d9c744"},
		{"Yealink SIP-T38G  38.70.0.125 00:15:65:2f:c3:5e", "yealink", "T38G", "0015652fc35e"},
		{"Yealink SIP-T56A  58.80.0.25 001565f429a4", "yealink", "T56A", "001565f429a4"},
		{"yealink SIP-T28P 2.70.0.140 00:15:65:13:ae:0b", "yealink", "T28P", "00156513ae0b"},
		{"Yealink CP960 73.83.0.30 00:15:65:8a:37:86", "yealink", "CP960", "0015658a3786"},
		{"Yealink AX83H 180.87.0.15 44:db:d2:bd:b5:69", "yealink", "AX83H", "44dbd2bdb569"},
		{"VP530P 23.70.0.40 00:15:65:31:4b:c0", "yealink", "VP530P", "001565314bc0"},
		{"Yealink-T46G 28.71.0.81 28.1.0.128.0.0.0", "yealink", "T46G", ""},
		{"Mozilla/4.0 (compatible; snom320-SIP 8.4.18 1.1.3-s)", "snom", "320", ""},
		{"Mozilla/4.0 (compatible; snomD785-SIP 10.1.33.33 2010.12-00004-g9ba52f5 000413922D24 SXM:0 UXM:0)", "snom", "D785", "000413922d24"},
		{"Mozilla/4.0 (compatible; Snom M900 05.20.0001 000413b60680)", "snom", "M900", "000413b60680"},
		{"Mozilla/4.0 (compatible; snomPA1-SIP 8.4.35 1.1.3-s)", "snom", "PA1", ""},
		{"Mozilla/4.0 (compatible; snomD735-SIP 10.1.20.0 (May 1 2019) 000413922D25)", "snom", "D735", "000413922d25"},
		{"Grandstream Model HW GXP1405 SW 1.0.4.23 DevId 000b8240d55c", "grandstream", "GXP1405", "000b8240d55c"},
		{"Grandstream Model HW GXP2200 V2.2A SW 1.0.1.33 DevId 000b82462d97", "grandstream", "GXP2200", "000b82462d97"},
		{"Grandstream Model HW GXV3350  V1.3A SW 1.0.1.8 DevId c074ad150b88", "grandstream", "GXV3350", "c074ad150b88"},
		{"Grandstream GXP2000 (gxp2000e.bin:1.2.5.3/boot55e.bin:1.1.6.9) DevId 000b822726c8", "grandstream", "GXP2000", "000b822726c8"},
		{"Mozilla/5.0 (X11; Linux x86_64)", "", "", ""},
		{"", "", "", ""},
	} {
		for _, v := range s.vendors {
			want := identity{}
			if v.Vendor == c.vendor {
				want = identity{c.model, c.mac}
			}
			if got := v.identify(c.agent); got != want {
				t.Errorf("%s reads %q as %+v, want %+v", v.Vendor, c.agent, got, want)
			}
		}
	}
}
