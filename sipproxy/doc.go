// Package sipproxy admits, routes and forwards SIP: a stateful proxy (RFC 3261 section 16, RFC 6026), a
// registrar with a location table, and the view of each call's life.
//
// # What it promises
//
//   - No octets end the process: each message is handled under a recover. What cannot be read gets a
//     4xx that names the fault where a Via allows an answer, once, and leaves nothing behind.
//   - One call's messages keep their order. A worker owns every transaction of the Call-IDs that fall
//     to it and is one goroutine; nothing in it has a lock, and no transaction has a goroutine, a
//     channel or a timer of the runtime.
//   - Only answers to requests of ours are taken: our Via's branch is sealed (branch.go). A 200 to a
//     call that rang when the process ended still finds its way.
//   - Nobody who has proved nothing leaves a transaction behind, over whatever transport; a device is
//     in From only what is its own.
//   - A request goes only where the objects say: by (account, type), to a binding, to the trunk
//     route, or, within a dialog, where the token in our Record-Route says (dialog.go). Nothing makes
//     it an open relay, and an answer to a source that has proved nothing is never more than three
//     times what came from there.
//   - The next target is tried within the same transaction (forward.go).
//   - A 200 to REGISTER leaves after the binding was written.
//   - Every queue, table and connection has a bound, and a counter for what happens there.
//
// # A request's way
//
//	udp.go, stream.go  octets; wire.CallID finds the worker
//	wire               the strict front: octets to Message, or a Fault with its status
//	worker.go          transactions first; what belongs to none is fresh
//	ask.go             the checks of section 16.3, our own Route taken off
//	identify.go        who asks: peer by address, or digest of the account that it claims to be of
//	route.go           account and type → forwarding names → targets; or bindings, or trunk
//	dialog.go          or the token, for requests within a dialog
//	register.go        or the registrar
//	bind.go            its bindings are written, off the workers
//	forward.go         Via, Record-Route, branches, best response, failover, CANCEL
//	call.go            what people see of calls
//	hangup.go          calls that somebody here ends
//
// # Decisions
//
// Streams are our own too, not sipgo's: the front needs the raw octets to name the fault, sipgo's
// listener ends at the first error of accept, knows no bound on connections and sets no deadline. One
// front serves both. sipgo's parser is not used either; package wire says why.
//
// A fast path on raw octets can be put before message in worker.go: it would see the same octets in
// the same worker, and hand on what it does not know.
//
// It leaves to others what names resolve to (Resolver), durable memory (Bindings, Store) and every
// decision about fraud and load. It obeys RFC 3261, 3263 (section 4.2, 4.3 for names of ours), 3327, 3581,
// 4320, 5393 (loops), 5626 (keep-alives), 5658, 6026.
package sipproxy
