package store

import (
	"context"

	"tandem/internal/tandem"
)

// A pair of methods for each noun: one object by its id, and a page of them, as Get and List.

// get is Get for one Go type.
func get[T tandem.Object](ctx context.Context, s *Store, by tandem.Principal, kind tandem.Kind, id string) (T, error) {
	var none T
	obj, err := s.Get(ctx, by, kind, id)
	if err != nil {
		return none, err
	}
	return obj.(T), nil
}

// list is List for one Go type.
func list[T tandem.Object](ctx context.Context, s *Store, by tandem.Principal, kind tandem.Kind, owner, after string, limit int) ([]T, error) {
	objects, err := s.List(ctx, by, kind, owner, after, limit)
	if err != nil {
		return nil, err
	}
	typed := make([]T, len(objects))
	for i, obj := range objects {
		typed[i] = obj.(T)
	}
	return typed, nil
}

// Zone returns a zone.
func (s *Store) Zone(ctx context.Context, by tandem.Principal, id string) (*tandem.Zone, error) {
	return get[*tandem.Zone](ctx, s, by, tandem.KindZone, id)
}

// Zones returns a page of zones.
func (s *Store) Zones(ctx context.Context, by tandem.Principal, after string, limit int) ([]*tandem.Zone, error) {
	return list[*tandem.Zone](ctx, s, by, tandem.KindZone, "", after, limit)
}

// Cluster returns a cluster.
func (s *Store) Cluster(ctx context.Context, by tandem.Principal, id string) (*tandem.Cluster, error) {
	return get[*tandem.Cluster](ctx, s, by, tandem.KindCluster, id)
}

// Clusters returns a page of clusters.
func (s *Store) Clusters(ctx context.Context, by tandem.Principal, after string, limit int) ([]*tandem.Cluster, error) {
	return list[*tandem.Cluster](ctx, s, by, tandem.KindCluster, "", after, limit)
}

// Node returns a node.
func (s *Store) Node(ctx context.Context, by tandem.Principal, id string) (*tandem.Node, error) {
	return get[*tandem.Node](ctx, s, by, tandem.KindNode, id)
}

// Nodes returns a page of nodes.
func (s *Store) Nodes(ctx context.Context, by tandem.Principal, after string, limit int) ([]*tandem.Node, error) {
	return list[*tandem.Node](ctx, s, by, tandem.KindNode, "", after, limit)
}

// Edge returns an edge.
func (s *Store) Edge(ctx context.Context, by tandem.Principal, id string) (*tandem.Edge, error) {
	return get[*tandem.Edge](ctx, s, by, tandem.KindEdge, id)
}

// Edges returns a page of edges.
func (s *Store) Edges(ctx context.Context, by tandem.Principal, after string, limit int) ([]*tandem.Edge, error) {
	return list[*tandem.Edge](ctx, s, by, tandem.KindEdge, "", after, limit)
}

// Group returns a group.
func (s *Store) Group(ctx context.Context, by tandem.Principal, id string) (*tandem.Group, error) {
	return get[*tandem.Group](ctx, s, by, tandem.KindGroup, id)
}

// Groups returns a page of groups.
func (s *Store) Groups(ctx context.Context, by tandem.Principal, after string, limit int) ([]*tandem.Group, error) {
	return list[*tandem.Group](ctx, s, by, tandem.KindGroup, "", after, limit)
}

// Account returns an account.
func (s *Store) Account(ctx context.Context, by tandem.Principal, id string) (*tandem.Account, error) {
	return get[*tandem.Account](ctx, s, by, tandem.KindAccount, id)
}

// Accounts returns a page of accounts, of one account when an owner is given.
func (s *Store) Accounts(ctx context.Context, by tandem.Principal, owner, after string, limit int) ([]*tandem.Account, error) {
	return list[*tandem.Account](ctx, s, by, tandem.KindAccount, owner, after, limit)
}

// Peer returns a peer.
func (s *Store) Peer(ctx context.Context, by tandem.Principal, id string) (*tandem.Peer, error) {
	return get[*tandem.Peer](ctx, s, by, tandem.KindPeer, id)
}

// Peers returns a page of peers, of one account when an owner is given.
func (s *Store) Peers(ctx context.Context, by tandem.Principal, owner, after string, limit int) ([]*tandem.Peer, error) {
	return list[*tandem.Peer](ctx, s, by, tandem.KindPeer, owner, after, limit)
}

// User returns a user.
func (s *Store) User(ctx context.Context, by tandem.Principal, id string) (*tandem.User, error) {
	return get[*tandem.User](ctx, s, by, tandem.KindUser, id)
}

// Users returns a page of users, of one account when an owner is given.
func (s *Store) Users(ctx context.Context, by tandem.Principal, owner, after string, limit int) ([]*tandem.User, error) {
	return list[*tandem.User](ctx, s, by, tandem.KindUser, owner, after, limit)
}

// Device returns a device.
func (s *Store) Device(ctx context.Context, by tandem.Principal, id string) (*tandem.Device, error) {
	return get[*tandem.Device](ctx, s, by, tandem.KindDevice, id)
}

// Devices returns a page of devices, of one account when an owner is given.
func (s *Store) Devices(ctx context.Context, by tandem.Principal, owner, after string, limit int) ([]*tandem.Device, error) {
	return list[*tandem.Device](ctx, s, by, tandem.KindDevice, owner, after, limit)
}

// Permit returns a permit.
func (s *Store) Permit(ctx context.Context, by tandem.Principal, id string) (*tandem.Permit, error) {
	return get[*tandem.Permit](ctx, s, by, tandem.KindPermit, id)
}

// Permits returns a page of permits, of one account when an owner is given.
func (s *Store) Permits(ctx context.Context, by tandem.Principal, owner, after string, limit int) ([]*tandem.Permit, error) {
	return list[*tandem.Permit](ctx, s, by, tandem.KindPermit, owner, after, limit)
}

// Key returns a key.
func (s *Store) Key(ctx context.Context, by tandem.Principal, id string) (*tandem.Key, error) {
	return get[*tandem.Key](ctx, s, by, tandem.KindKey, id)
}

// Keys returns a page of keys.
func (s *Store) Keys(ctx context.Context, by tandem.Principal, after string, limit int) ([]*tandem.Key, error) {
	return list[*tandem.Key](ctx, s, by, tandem.KindKey, "", after, limit)
}

// Assignment returns the assignment of a group.
func (s *Store) Assignment(ctx context.Context, by tandem.Principal, group string) (*tandem.Assignment, error) {
	return get[*tandem.Assignment](ctx, s, by, tandem.KindAssignment, group)
}

// Assignments returns a page of assignments, by group.
func (s *Store) Assignments(ctx context.Context, by tandem.Principal, after string, limit int) ([]*tandem.Assignment, error) {
	return list[*tandem.Assignment](ctx, s, by, tandem.KindAssignment, "", after, limit)
}

// Lease returns a lease by its id.
func (s *Store) Lease(ctx context.Context, by tandem.Principal, id string) (*tandem.Lease, error) {
	return get[*tandem.Lease](ctx, s, by, tandem.KindLease, id)
}

// Leases returns a page of leases, by instance and group.
func (s *Store) Leases(ctx context.Context, by tandem.Principal, after string, limit int) ([]*tandem.Lease, error) {
	return list[*tandem.Lease](ctx, s, by, tandem.KindLease, "", after, limit)
}

// TSIGKey returns a TSIG key by its id.
func (s *Store) TSIGKey(ctx context.Context, by tandem.Principal, id string) (*tandem.TSIGKey, error) {
	return get[*tandem.TSIGKey](ctx, s, by, tandem.KindTSIGKey, id)
}

// TSIGKeys returns a page of TSIG keys, of one account when an owner is given.
func (s *Store) TSIGKeys(ctx context.Context, by tandem.Principal, owner, after string, limit int) ([]*tandem.TSIGKey, error) {
	return list[*tandem.TSIGKey](ctx, s, by, tandem.KindTSIGKey, owner, after, limit)
}

// View returns a view by its id.
func (s *Store) View(ctx context.Context, by tandem.Principal, id string) (*tandem.View, error) {
	return get[*tandem.View](ctx, s, by, tandem.KindView, id)
}

// Views returns a page of views.
func (s *Store) Views(ctx context.Context, by tandem.Principal, after string, limit int) ([]*tandem.View, error) {
	return list[*tandem.View](ctx, s, by, tandem.KindView, "", after, limit)
}

// RecordSet returns a record set by its id.
func (s *Store) RecordSet(ctx context.Context, by tandem.Principal, id string) (*tandem.RecordSet, error) {
	return get[*tandem.RecordSet](ctx, s, by, tandem.KindRecordSet, id)
}

// RecordSets returns a page of record sets, of one account when an owner is given.
func (s *Store) RecordSets(ctx context.Context, by tandem.Principal, owner, after string, limit int) ([]*tandem.RecordSet, error) {
	return list[*tandem.RecordSet](ctx, s, by, tandem.KindRecordSet, owner, after, limit)
}

// NumberRange returns a number range by its id.
func (s *Store) NumberRange(ctx context.Context, by tandem.Principal, id string) (*tandem.NumberRange, error) {
	return get[*tandem.NumberRange](ctx, s, by, tandem.KindNumberRange, id)
}

// NumberRanges returns a page of number ranges.
func (s *Store) NumberRanges(ctx context.Context, by tandem.Principal, after string, limit int) ([]*tandem.NumberRange, error) {
	return list[*tandem.NumberRange](ctx, s, by, tandem.KindNumberRange, "", after, limit)
}

// ZoneKey returns a zone's key by its id.
func (s *Store) ZoneKey(ctx context.Context, by tandem.Principal, id string) (*tandem.ZoneKey, error) {
	return get[*tandem.ZoneKey](ctx, s, by, tandem.KindZoneKey, id)
}

// ZoneKeys returns a page of zones' keys.
func (s *Store) ZoneKeys(ctx context.Context, by tandem.Principal, after string, limit int) ([]*tandem.ZoneKey, error) {
	return list[*tandem.ZoneKey](ctx, s, by, tandem.KindZoneKey, "", after, limit)
}

// Health returns the last known state of a node.
func (s *Store) Health(ctx context.Context, by tandem.Principal, node string) (*tandem.Health, error) {
	return get[*tandem.Health](ctx, s, by, tandem.KindHealth, node)
}

// Healths returns a page of last known states, by node.
func (s *Store) Healths(ctx context.Context, by tandem.Principal, after string, limit int) ([]*tandem.Health, error) {
	return list[*tandem.Health](ctx, s, by, tandem.KindHealth, "", after, limit)
}
