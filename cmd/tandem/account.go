package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

func newAccount(s *session) *cobra.Command {
	return group("account", "Steer accounts", newRepoint(s), newMove(s))
}

const repointHelp = `Points one forwarding name of an account at a cluster, or at listed nodes. The key is the name's
first label: a request type (register, invite, message, subscribe, publish, options, http,
emergency, trunk, or one that the account's rules give), or a key that its routes use.

The next request follows at once. Open dialogs stay with the node that has them. From then on
the key goes there whatever cluster the account's group has: pins, plans and moves of the group do not
concern it, until it is taken out of the account's targets.`

func newRepoint(s *session) *cobra.Command {
	var to control.Repoint
	cmd := &cobra.Command{
		Use: "repoint ACCOUNT KEY (--cluster ID | --nodes ID,... | --group)", Short: "Point a forwarding name at other feature servers",
		Long: repointHelp,
		Example: "  tandem account repoint 1001 invite --cluster east\n  tandem account repoint 1001 voicemail --nodes vm1,vm2\n" +
			"  tandem account repoint 1001 invite --group",
		Args: between(2, 2), ValidArgsFunction: s.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			given := 0
			for _, set := range []bool{to.Cluster != "", len(to.Nodes) > 0, to.Group} {
				if set {
					given++
				}
			}
			if given != 1 {
				return misuse("give one of --cluster, --nodes and --group")
			}
			to.Key = args[1]
			result, err := s.door().Repoint(cmd.Context(), args[0], to)
			if err != nil {
				return err
			}
			s.printf("%s of account %s repointed at revision %d\n", to.Key, args[0], result.Revision)
			if keys := s.keys(cmd.Context(), args[0]); keys != nil && !slices.Contains(keys, to.Key) {
				fmt.Fprintf(s.errs, "tandem: no request has the key %s yet: it is no request type, and no rule or route of account %s names it\n", to.Key, args[0])
			}
			return s.served(cmd.Context(), result.Revision)
		},
	}
	cmd.Flags().StringVar(&to.Cluster, "cluster", "", "a cluster; its nodes are filtered by request type")
	cmd.Flags().StringSliceVar(&to.Nodes, "nodes", nil, "nodes, whatever types they serve")
	cmd.Flags().BoolVar(&to.Group, "group", false, "the cluster of the account's group again")
	_ = cmd.RegisterFlagCompletionFunc("cluster", s.completeIDs(tandem.KindCluster)) // the flag exists
	_ = cmd.RegisterFlagCompletionFunc("nodes", s.completeIDs(tandem.KindNode))      // as above
	s.waitFlag(cmd)
	return cmd
}

// keys returns the target keys that requests of an account can have, nil when it cannot be read.
func (s *session) keys(ctx context.Context, id string) []string {
	item, err := s.door().Get(ctx, tandem.KindAccount, id)
	if err != nil {
		return nil
	}
	var account tandem.Account
	if json.Unmarshal(item, &account) != nil {
		return nil
	}
	var keys []string
	for _, t := range []tandem.RequestType{
		tandem.TypeRegister, tandem.TypeInvite, tandem.TypeMessage, tandem.TypeSubscribe, tandem.TypePublish,
		tandem.TypeOptions, tandem.TypeHTTP, tandem.TypeEmergency, tandem.TypeTrunk,
	} {
		keys = append(keys, string(t))
	}
	for _, rule := range account.Rules {
		keys = append(keys, string(rule.Type))
	}
	for _, names := range account.Routes {
		for _, name := range names {
			key, below, dotted := strings.Cut(name, ".")
			if !dotted || strings.HasPrefix(below, id+".") {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// completeKey completes an account and then one of its keys.
func (s *session) completeKey(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return s.completeFirst(tandem.KindAccount)(cmd, args, typed)
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
	defer cancel()
	return matching(s.keys(ctx, args[0]), typed), cobra.ShellCompDirectiveNoFileComp
}

const moveHelp = `Gives an account other connection points, and tells when its devices follow: when every cached
answer has expired they resolve anew, at their next registration. Until then the old edges go on
serving them.`

func newMove(s *session) *cobra.Command {
	var edges []string
	cmd := &cobra.Command{
		Use: "move ACCOUNT --edges ID,...", Short: "Move an account to other connection points",
		Long:    moveHelp,
		Example: "  tandem account move 1001 --edges east1,east2\n  tandem account move 1001 --edges \"\"   # those of its zone",
		Args:    between(1, 1), ValidArgsFunction: s.completeFirst(tandem.KindAccount),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("edges") {
				return misuse("--edges is missing: edge ids, or \"\" for those of the account's zone")
			}
			moved, err := s.door().Move(cmd.Context(), args[0], control.Move{Edges: edges})
			if err != nil {
				return err
			}
			s.printf("account %s moved at revision %d\n", args[0], moved.Revision)
			s.printf("DNS caches forget the old connection points by %s; devices follow at their next registration after it\n",
				moved.Resolved.Local().Format(time.DateTime))
			s.printf("%d of %s are still on other edges\n", moved.Behind, plural(moved.Devices, "registration"))
			return s.served(cmd.Context(), moved.Revision)
		},
	}
	cmd.Flags().StringSliceVar(&edges, "edges", nil, "edge ids; \"\" for those of its zone")
	_ = cmd.RegisterFlagCompletionFunc("edges", s.completeIDs(tandem.KindEdge)) // the flag exists
	s.waitFlag(cmd)
	return cmd
}
