package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"tandem/internal/tandem"
)

func newNode(s *session) *cobra.Command {
	return group("node", "Drain feature servers, take them out, have them back, force their health",
		newNodeState(s, "drain", tandem.NodeDraining, "Give a node no new calls",
			"Gives a node no new calls; those that are up go on until they end. tandem cluster show CLUSTER\n--watch tells how many are left. tandem node undrain has it back."),
		newNodeState(s, "undrain", tandem.NodeActive, "Have a node back",
			"Has a node back that was drained or taken out. It gets new calls when it is found good, or is not\nmeasured."),
		newNodeState(s, "out", tandem.NodeOut, "Take a node out at once",
			"Takes a node out: nothing new goes there. To wait until it is empty, drain it first."),
		newNodeForce(s), newNodeLoad(s))
}

func newNodeState(s *session, verb string, state tandem.NodeState, short, long string) *cobra.Command {
	cmd := &cobra.Command{
		Use: verb + " NODE", Short: short, Long: long, Example: "  tandem node " + verb + " east1",
		Args: between(1, 1), ValidArgsFunction: s.completeFirst(tandem.KindNode),
		RunE: func(cmd *cobra.Command, args []string) error {
			set, err := s.door().SetNodeState(cmd.Context(), args[0], state)
			if err != nil {
				return err
			}
			s.printf("node %s is %s at revision %d\n", args[0], state, set.Revision)
			if err := s.served(cmd.Context(), set.Revision); err != nil {
				return err
			}
			if state != tandem.NodeActive { // of one that is back nobody waits for the last call
				s.printf("%s still on it\n", are(set.Calls, "call"))
			}
			return nil
		},
	}
	s.waitFlag(cmd)
	return cmd
}

// are counts things in a sentence.
func are(n int, thing string) string {
	if n == 1 {
		return plural(n, thing) + " is"
	}
	return plural(n, thing) + " are"
}

func newNodeLoad(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "load NODE LOAD", Short: "Report the load of a node",
		Long: "Reports how loaded a node is, from 0 (idle) to 1 (full), up to 2 for one that has more to do than it\n" +
			"can. It counts as a part of the node's quality for 15 seconds: report it anew every few seconds.",
		Example: "  tandem node load east1 0.42",
		Args:    between(2, 2), ValidArgsFunction: s.completeFirst(tandem.KindNode),
		RunE: func(cmd *cobra.Command, args []string) error {
			load, err := strconv.ParseFloat(args[1], 64)
			if err != nil || !(load >= 0 && load <= 2) {
				return misuse("load %q is not a number from 0 (idle) to 1 (full), or up to 2", args[1])
			}
			n, err := s.door().ReportLoad(cmd.Context(), args[0], load)
			if err != nil {
				return err
			}
			s.printf("node %s is %s, load %s, score %s\n", n.ID, nodeState(&n), loadOf(&n), score(n.Score))
			return nil
		},
	}
}
