package control

import (
	"net/http"
	"strings"

	"tandem/internal/tandem"
)

// operation is one thing that the API can do. The table of them makes the routes, the OpenAPI
// description and the tests' walk over every route.
type operation struct {
	id, method, path string
	summary          string
	admin            bool // for administrators only
	documents        bool // its body is documents, not one JSON value
	streams          bool // its answer is many values, one after the other as they come
	query            []parameter
	takes            any // a value of the type that the body holds, nil for none
	gives            any // a value of the type that is answered
	handle           func(*call) error
}

// parameter is one value of the query.
type parameter struct{ name, explain string }

// Plural returns the name of a kind's collection in paths and on the command line.
func Plural(k tandem.Kind) string { return strings.ToLower(string(k)) + "s" }

// ParseKind finds a kind by its name, whatever its case, in singular or plural.
func ParseKind(name string) (tandem.Kind, bool) {
	for _, k := range tandem.Kinds() {
		if strings.EqualFold(name, string(k)) || strings.EqualFold(name, Plural(k)) {
			return k, true
		}
	}
	return "", false
}

// operations lists all there is.
func operations() []operation {
	var ops []operation
	for _, k := range tandem.Kinds() {
		ops = append(ops, objectOperations(k)...)
	}
	ops = append(ops, documentOperations()...)
	ops = append(ops, callOperations()...)
	ops = append(ops, balanceOperations()...)
	ops = append(ops, zoneOperations()...)
	return append(ops, actOperations()...)
}

// objectOperations are those that every kind has.
func objectOperations(k tandem.Kind) []operation {
	name, path := string(k), "/v1/"+Plural(k)
	one := tandem.New(k)
	return []operation{
		{
			id: "list" + name + "s", method: http.MethodGet, path: path,
			summary: "Lists objects of kind " + name + " by id, a page at a time.",
			query: []parameter{
				{"account", "Only objects that belong to this account."},
				{"after", "Only objects with ids after this one: the next of the page before."},
				{"limit", "At most so many, 1 to 1000. Default 100."},
			},
			gives:  page{of: one},
			handle: func(c *call) error { return c.list(k) },
		}, {
			id: "get" + name, method: http.MethodGet, path: path + "/{id}",
			summary: "Returns one " + name + ".", gives: one,
			handle: func(c *call) error { return c.get(k) },
		}, {
			id: "delete" + name, method: http.MethodDelete, path: path + "/{id}",
			summary: "Deletes one " + name + ".",
			query:   []parameter{{"revision", "The revision that the object must still have; absent: any."}},
			gives:   Result{},
			handle:  func(c *call) error { return c.delete(k) },
		},
	}
}

// documentOperations take many documents: YAML between lines of ---, JSON Lines or JSON.
func documentOperations() []operation {
	query := []parameter{
		{"name", "Name of the file, for messages about it."},
		{"stream", "1: answer one Event a line while it goes on, instead of a Result at the end."},
	}
	return []operation{
		{
			id: "apply", method: http.MethodPost, path: "/v1/apply", documents: true, query: query, gives: Result{},
			summary: "Makes the store hold what the documents say. All are checked before the first is written.",
			handle:  func(c *call) error { return c.documents(c.server.apply) },
		}, {
			id: "diff", method: http.MethodPost, path: "/v1/diff", documents: true, query: query, gives: Event{},
			summary: "Tells what apply would do, one Event a line, and does nothing.",
			handle:  func(c *call) error { return c.documents(c.server.diff) },
		}, {
			id: "deleteDocuments", method: http.MethodPost, path: "/v1/delete", documents: true, query: query, gives: Result{},
			summary: "Deletes the objects that the documents name by kind and id.",
			handle:  func(c *call) error { return c.documents(c.server.remove) },
		},
	}
}

// actOperations are looks at what runs, and acts with a name of their own.
func actOperations() []operation {
	account := []parameter{{"account", "Only those of this account."}}
	return []operation{
		{
			id: "openapi", method: http.MethodGet, path: "/v1/openapi.json", summary: "Returns this description.",
			gives: map[string]string(nil), handle: (*call).openapi,
		}, {
			id: "explain", method: http.MethodGet, path: "/v1/explain/{path}", gives: Explanation{},
			summary: "Explains a kind or one of its fields, such as Account or Account.labels.role.", handle: (*call).explain,
		}, {
			id: "status", method: http.MethodGet, path: "/v1/status", admin: true, gives: Status{},
			summary: "Tells how this tandem is.", handle: (*call).status,
		}, {
			id: "served", method: http.MethodGet, path: "/v1/served", gives: Result{}, handle: (*call).served,
			summary: "Answers once every part serves a revision.",
			query:   []parameter{{"revision", "The revision to wait for."}},
		}, {
			id: "traceDNS", method: http.MethodGet, path: "/v1/dns/trace", admin: true, gives: []tandem.Step(nil), handle: (*call).trace,
			summary: "Explains what DNS answers for a name.",
			query:   []parameter{{"name", "The name asked for."}, {"from", "Address or network of the clients that ask; absent: this machine."}},
		}, {
			id: "traceSIP", method: http.MethodGet, path: "/v1/sip/trace", gives: tandem.TraceLine{}, handle: (*call).sipTrace, streams: true,
			summary: "Gives SIP messages as they pass: server-sent events if asked for, else one JSON value a line, with empty lines between while nothing happens. A reader that is too slow is told how many it missed. Administrators see every message, others those of their account's calls.",
			query:   sipTraceQuery(),
		}, {
			id: "listRegistrations", method: http.MethodGet, path: "/v1/registrations", query: account, gives: []tandem.Binding(nil),
			summary: "Lists registered contacts.", handle: (*call).registrations,
		}, {
			id: "repointAccount", method: http.MethodPost, path: "/v1/accounts/{id}/repoint", takes: Repoint{}, gives: Result{},
			summary: "Points one forwarding name of an account at a cluster or at nodes.", handle: (*call).repoint,
		}, {
			id: "moveAccount", method: http.MethodPost, path: "/v1/accounts/{id}/move", takes: Move{}, gives: Moved{},
			summary: "Gives an account other connection points.", handle: (*call).move,
		}, {
			id: "provisioningURL", method: http.MethodPost, path: "/v1/devices/{id}/provisioning-url", takes: PermitRequest{}, gives: PermitURL{},
			summary: "Makes a secret URL from which the device can fetch its configuration once.", handle: (*call).permit,
		}, {
			id: "verifyStore", method: http.MethodPost, path: "/v1/store/verify", admin: true, gives: Verified{},
			summary: "Reads the whole store and tells what is damaged.", handle: (*call).verify,
		}, {
			id: "backupStore", method: http.MethodPost, path: "/v1/store/backup", admin: true, takes: BackupRequest{}, gives: BackupRequest{},
			summary: "Writes a copy of the store into a folder of the server's machine.", handle: (*call).backup,
		},
	}
}
