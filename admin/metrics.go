package admin

import (
	"maps"
	"slices"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"hotdeskd/hotdesk"
)

// metrics serves /metrics, for monitoring in the Prometheus text format, to whoever
// may look at the whole server.
func (s *Server) metrics() gin.HandlerFunc {
	registry := prometheus.NewRegistry()
	registry.MustRegister(state{s}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	h := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	return func(c *gin.Context) {
		if err := lookWide().check(who(c.Request.Context())); err != nil {
			told(c, s.problem(err).(*Problem))
			return
		}
		h.ServeHTTP(c.Writer, c.Request)
	}
}

// state reads the desks when it is asked; nothing is counted twice.
type state struct{ s *Server }

// metric is one of them.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("hotdeskd_"+name, help, labels, nil), prometheus.GaugeValue}
}

func counter(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("hotdeskd_"+name, help, labels, nil), prometheus.CounterValue}
}

// The metrics; none has a label that grows with phones, people or numbers.
var (
	metricInfo       = gauge("build_info", "Always 1; the version is a label.", "version")
	metricReady      = gauge("ready", "1 when logins and changes are possible.")
	metricDevices    = gauge("devices", "Devices by site and state: idle, in-use, blocked.", "site", "state")
	metricConfig     = gauge("devices_config", "Devices by site and state of their configuration: current, updating, stale, never.", "site", "state")
	metricRegistered = gauge("devices_registered", "Devices whose phone is registered.", "site")
	metricPending    = gauge("devices_pending", "Phones that wait for approval.")
	metricUsers      = gauge("users", "Users.")
	metricSessions   = gauge("sessions", "Sessions that last.")
	metricLegs       = gauge("call_legs", "Legs of calls that phones have now.")
	metricSite       = gauge("site_ready", "1 when emergency calls from the site have their way.", "site")
	metricPBX        = gauge("pbx_up", "1 when the PBX answers.", "pbx")
	metricPBXUsers   = gauge("pbx_users_registered", "Users that are registered at the PBX.", "pbx")
	metricPBXFailed  = gauge("pbx_users_failed", "Users whose registration at the PBX fails.", "pbx")
	metricEvents     = counter("events_total", "Events since the start, as the event stream names them.", "event")
	metricRequests   = counter("provisioning_requests_total", "Requests of phones for files since the start, by verdict.", "verdict")
)

// Describe is empty: which series there are depends on sites and PBXes.
func (state) Describe(chan<- *prometheus.Desc) {}

// Collect reads all values.
func (m state) Collect(out chan<- prometheus.Metric) {
	s := m.s
	put := func(k metric, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(k.desc, k.kind, value, labels...)
	}
	put(metricInfo, 1, s.Version)
	put(metricReady, truth(s.Ready() == nil))
	devices, configs, registered := map[[2]string]int{}, map[[2]string]int{}, map[string]int{}
	for _, site := range s.Desk.Sites() {
		put(metricSite, truth(len(s.Desk.Missing(site)) == 0), site.Name)
		registered[site.Name] = 0
		for _, st := range []hotdesk.State{hotdesk.StateIdle, hotdesk.StateInUse, hotdesk.StateBlocked} {
			devices[[2]string{site.Name, string(st)}] = 0
		}
		for _, st := range []string{"current", "updating", "stale", "never"} {
			configs[[2]string{site.Name, st}] = 0
		}
	}
	for _, p := range s.Desk.Phones() {
		devices[[2]string{p.Device.Site, string(p.State())}]++
		configs[[2]string{p.Device.Site, s.configState(p)}]++
		if _, ok := s.Live.Registration(p.Device.ID); ok {
			registered[p.Device.Site]++
		}
	}
	for key, n := range devices {
		put(metricDevices, float64(n), key[:]...)
	}
	for key, n := range configs {
		put(metricConfig, float64(n), key[:]...)
	}
	for site, n := range registered {
		put(metricRegistered, float64(n), site)
	}
	put(metricPending, float64(len(s.Live.Pending())))
	put(metricUsers, float64(len(s.Desk.Users())))
	put(metricSessions, float64(len(s.Desk.Sessions())))
	put(metricLegs, float64(s.Live.AllLegs()))
	for _, p := range s.Desk.PBXs() {
		if p.Mode == "none" {
			continue
		}
		now := s.Live.PBX(p.Name)
		put(metricPBX, truth(now.State == hotdesk.PBXUp), p.Name)
		put(metricPBXUsers, float64(now.Registered), p.Name)
		put(metricPBXFailed, float64(len(now.Failed)), p.Name)
	}
	for _, c := range []struct {
		metric metric
		counts map[string]uint64
	}{{metricEvents, s.Live.EventCounts()}, {metricRequests, s.Live.RequestCounts()}} {
		for _, name := range slices.Sorted(maps.Keys(c.counts)) {
			put(c.metric, float64(c.counts[name]), name)
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
