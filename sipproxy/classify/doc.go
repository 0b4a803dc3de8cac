// Package classify finds a request's type: a pure function over the account's rules and a built-in
// table; and it recognises emergency calls (spec E1) and normalises numbers. It sees the method, the
// event package and the Request-URI, and nothing else of a message, so no header can make a call an
// emergency call.
package classify
