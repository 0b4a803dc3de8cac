package sipproxy

import (
	"sync/atomic"

	"tandem/internal/tandem"
)

// counters is what the proxy counts. All may be read at any time.
type counters struct {
	requests, responses, malformed, forged, strays, retransmissions   atomic.Uint64
	sent, sendErrors, answered, amplifying, timeouts, failovers       atomic.Uint64
	queueFull, tableFull, callsUnseen, callsUnrecorded, panics        atomic.Uint64
	authenticated, challenges, wrongCredentials, unknownDomain        atomic.Uint64
	registrations, persistErrors, emergency, noTarget, badTokens      atomic.Uint64
	connections, refusedConnections, acceptErrors, brokenStreams      atomic.Uint64
	falseIdentities, hostInUsername                                   atomic.Uint64
	keepalives, readErrors, probes, sounded, voiceReports, badReports atomic.Uint64

	serverTx, clientTx, streams atomic.Int64
}

// Metrics emits a sample of every counter and gauge.
func (s *Server) Metrics(emit func(tandem.Sample)) {
	c := &s.count
	for _, m := range [...]struct {
		name, help string
		value      *atomic.Uint64
	}{
		{"requests", "SIP requests taken.", &c.requests},
		{"responses", "SIP responses taken.", &c.responses},
		{"malformed", "Messages refused because they are malformed.", &c.malformed},
		{"forged_responses", "Responses dropped because their branch is not ours.", &c.forged},
		{"stray_messages", "Responses and ACKs dropped because they belong to nothing.", &c.strays},
		{"retransmissions", "Retransmissions absorbed.", &c.retransmissions},
		{"sent_messages", "Messages sent.", &c.sent},
		{"send_errors", "Messages that could not be sent.", &c.sendErrors},
		{"answers", "Answers of the proxy's own, final ones.", &c.answered},
		{"amplifying_answers", "Answers not sent because they would exceed three times the request.", &c.amplifying},
		{"timeouts", "Requests that their target never answered.", &c.timeouts},
		{"failovers", "Requests given to a further target.", &c.failovers},
		{"queue_full", "Messages dropped because a worker's queue was full.", &c.queueFull},
		{"transactions_full", "Requests refused because the transaction table was full.", &c.tableFull},
		{"calls_unseen", "Calls not listed because the call table was full.", &c.callsUnseen},
		{"call_records_lost", "Call records not written, because too many waited or the store refused.", &c.callsUnrecorded},
		{"panics", "Faults recovered from.", &c.panics},
		{"authenticated", "Requests with right credentials.", &c.authenticated},
		{"challenges", "Requests challenged.", &c.challenges},
		{"wrong_credentials", "Requests with wrong credentials.", &c.wrongCredentials},
		{"false_identities", "Requests whose From is none of the device's own.", &c.falseIdentities},
		{"host_in_username", "Requests refused whose digest user name has a host.", &c.hostInUsername},
		{"unknown_domain", "Requests to or from a host that is no account's.", &c.unknownDomain},
		{"registrations", "Registrations bound.", &c.registrations},
		{"persist_errors", "Bindings that could not be written.", &c.persistErrors},
		{"emergency_calls", "Emergency calls recognised.", &c.emergency},
		{"no_target", "Requests whose forwarding names have no target.", &c.noTarget},
		{"bad_tokens", "In-dialog requests refused for their token.", &c.badTokens},
		{"connections", "Stream connections accepted or made.", &c.connections},
		{"refused_connections", "Stream connections refused for a bound.", &c.refusedConnections},
		{"accept_errors", "Errors of accept, survived.", &c.acceptErrors},
		{"broken_streams", "Connections closed for what came over them.", &c.brokenStreams},
		{"keepalives", "Keep-alives taken.", &c.keepalives},
		{"voice_reports", "Voice quality reports taken (RFC 6035).", &c.voiceReports},
		{"bad_voice_reports", "Voice quality reports that cannot be read.", &c.badReports},
		{"calls_sounded", "Silent calls whose sides were asked whether they are still up.", &c.sounded},
		{"probes", "OPTIONS sent to nodes.", &c.probes},
		{"read_errors", "Errors of datagram sockets.", &c.readErrors},
	} {
		emit(tandem.Sample{Name: "tandem_sipproxy_" + m.name + "_total", Help: m.help, Value: float64(m.value.Load())})
	}
	emit(tandem.Sample{Name: "tandem_sipproxy_probes_postponed_total", Help: "OPTIONS that waited because of the bound on all of them together.", Value: float64(s.probes.postponed())})
	live := 0
	for _, w := range s.workers {
		w.calls.mu.Lock()
		live += len(w.calls.live)
		w.calls.mu.Unlock()
	}
	gauge := func(name, help string, v float64) {
		emit(tandem.Sample{Name: "tandem_sipproxy_" + name, Help: help, Gauge: true, Value: v})
	}
	gauge("server_transactions", "Server transactions open.", float64(c.serverTx.Load()))
	gauge("client_transactions", "Client transactions open.", float64(c.clientTx.Load()))
	gauge("streams", "Stream connections open.", float64(c.streams.Load()))
	gauge("calls", "Calls live.", float64(live))
	gauge("bindings", "Bindings held.", float64(s.location.Len()))
}
