// Package classify finds a request's type: a pure function over the account's rules and a built-in
// table; and it recognises emergency calls and normalises numbers.
package classify
