package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"tandem/internal/tandem"
)

// header returns the columns of a kind's table.
func header(k tandem.Kind) []string {
	switch k {
	case tandem.KindZone:
		return []string{"ID", "ROLE", "SERVICE ZONE", "EDGES", "RECORDS"}
	case tandem.KindNode:
		return []string{"ID", "CLUSTER", "STATE", "ADDRESSES", "PORTS", "PRIORITY", "WEIGHT", "TYPES"}
	case tandem.KindEdge:
		return []string{"ID", "ADDRESSES", "PORTS", "PRIORITY", "WEIGHT"}
	case tandem.KindGroup:
		return []string{"ID", "PINNED TO", "EXPECTED", "PERMITTED", "QUALITY", "NAME"}
	case tandem.KindCluster:
		return []string{"ID", "CAPACITY", "NAME"}
	case tandem.KindAccount:
		return []string{"ID", "INBOUND NAME", "GROUP", "NUMBERS", "NAME"}
	case tandem.KindPeer:
		return []string{"ID", "ROLE", "LISTENER", "NETWORKS", "ACCOUNT"}
	case tandem.KindUser:
		return []string{"ID", "ACCOUNT", "EXTENSION", "NUMBERS", "NAME"}
	case tandem.KindDevice:
		return []string{"ID", "ACCOUNT", "USERNAME", "USER", "MAC", "MODEL"}
	case tandem.KindTSIGKey:
		return []string{"ID", "ALGORITHM", "ACCOUNT"}
	case tandem.KindView:
		return []string{"ID", "NETWORKS", "KEYS", "ZONES"}
	case tandem.KindRecordSet:
		return []string{"NAME", "TTL", "TYPE", "RECORDS", "VIEW", "ACCOUNT"}
	case tandem.KindNumberRange:
		return []string{"ID", "PREFIX", "DIGITS", "ACCOUNT", "SERVICES"}
	}
	return []string{"ID", "NAME"}
}

// cells returns an object's row in its kind's table.
func cells(k tandem.Kind, item json.RawMessage) ([]string, error) {
	object := tandem.New(k)
	if err := json.Unmarshal(item, object); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	id := object.Header().ID
	switch o := object.(type) {
	case *tandem.Zone:
		return []string{id, string(o.Role), o.ServiceZone, strings.Join(o.Edges, ","), lines(o.Records)}, nil
	case *tandem.Node:
		state := o.State
		if state == "" {
			state = tandem.NodeActive
		}
		return []string{id, o.Cluster, string(state), addresses(o.Addresses), ports(o.Ports), strconv.Itoa(int(o.Priority)), weight(o.Weight), types(o.Types)}, nil
	case *tandem.Edge:
		return []string{id, addresses(o.Addresses), ports(o.Ports), strconv.Itoa(int(o.Priority)), weight(o.Weight)}, nil
	case *tandem.Group:
		quality := ""
		if o.MinQuality > 0 {
			quality = strconv.Itoa(o.MinQuality)
		}
		return []string{id, o.Cluster, limit(o.Expected), limit(o.Permitted), quality, o.Name}, nil
	case *tandem.Account:
		return []string{id, o.InboundName(), o.Group, strings.Join(o.Numbers, ","), o.Name}, nil
	case *tandem.Peer:
		return []string{id, string(o.Role), o.Listener, networks(o.Networks), o.Account}, nil
	case *tandem.User:
		return []string{id, o.Account, o.Extension, strings.Join(o.Numbers, ","), o.Name}, nil
	case *tandem.Device:
		return []string{id, o.Account, o.Username, o.User, o.MAC, o.Model}, nil
	case *tandem.Cluster:
		return []string{id, limit(o.Capacity), o.Name}, nil
	}
	return nameServingCells(object)
}

// nameServingCells returns the row of an object that only name servers know.
func nameServingCells(object tandem.Object) ([]string, error) {
	id := object.Header().ID
	switch o := object.(type) {
	case *tandem.TSIGKey:
		algorithm := o.Algorithm
		if algorithm == "" {
			algorithm = "hmac-sha256"
		}
		return []string{id, algorithm, o.Account}, nil
	case *tandem.View:
		return []string{id, networks(o.Networks), strings.Join(o.Keys, ","), strings.Join(o.Zones, ",")}, nil
	case *tandem.RecordSet:
		records := strings.Join(o.Records, "; ")
		if len(o.Records) == 0 {
			records = "(none)"
		}
		return []string{o.Name, strconv.Itoa(int(o.TTL)), o.Type, records, o.View, o.Account}, nil
	case *tandem.NumberRange:
		services := make([]string, len(o.Service))
		for i, s := range o.Service {
			services[i] = s.Service
		}
		digits := fmt.Sprintf("%d-%d", max(o.Least, len(o.Prefix)-1), cmp.Or(o.Most, 15))
		return []string{id, o.Prefix, digits, o.Account, strings.Join(services, ",")}, nil
	}
	return []string{id, ""}, nil
}

// lines says how many lines of records there are.
func lines(records string) string {
	if records == "" {
		return ""
	}
	n := strings.Count(strings.TrimRight(records, "\n"), "\n") + 1
	return strconv.Itoa(n) + " lines"
}

// limit is a number that may be left out.
func limit(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

func weight(n uint16) string {
	if n == 0 {
		return "100"
	}
	return strconv.Itoa(int(n))
}

func addresses(list []netip.Addr) string {
	parts := make([]string, len(list))
	for i, a := range list {
		parts[i] = a.String()
	}
	return strings.Join(parts, ",")
}

func networks(list []netip.Prefix) string {
	parts := make([]string, len(list))
	for i, n := range list {
		parts[i] = n.String()
	}
	return strings.Join(parts, ",")
}

func types(list []tandem.RequestType) string {
	parts := make([]string, len(list))
	for i, t := range list {
		parts[i] = string(t)
	}
	return strings.Join(parts, ",")
}

func ports(p tandem.Ports) string {
	var parts []string
	for t := tandem.UDP; t <= tandem.HTTPS; t++ {
		if n := p.Of(t); n != 0 {
			parts = append(parts, t.String()+":"+strconv.Itoa(int(n)))
		}
	}
	return strings.Join(parts, ",")
}
