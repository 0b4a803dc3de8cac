// Package location is the registrar's table of bindings (RFC 3261 section 10.3).
package location
