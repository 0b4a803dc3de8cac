package main

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

// The completion command itself is cobra's; these answer what it asks.

// completeObject completes KIND and then ID.
func (s *session) completeObject(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return matching(kindNames(), strings.ToLower(typed)), cobra.ShellCompDirectiveNoFileComp
	case 1:
		if k, ok := control.ParseKind(args[0]); ok {
			return s.ids(cmd.Context(), k, typed), cobra.ShellCompDirectiveNoFileComp
		}
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// completeFirst completes an id of a kind as the first argument, and no other.
func (s *session) completeFirst(k tandem.Kind) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return s.completeIDs(k)(cmd, args, typed)
	}
}

// completeIDs completes a flag's id of a kind.
func (s *session) completeIDs(k tandem.Kind) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return s.ids(cmd.Context(), k, typed), cobra.ShellCompDirectiveNoFileComp
	}
}

// completePath completes KIND[.FIELD].
func completePath(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	name, _, dotted := strings.Cut(typed, ".")
	k, ok := control.ParseKind(name)
	if !dotted || !ok {
		return matching(kindNames(), strings.ToLower(typed)), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	var paths []string
	for _, p := range control.FieldPaths(k) {
		paths = append(paths, name+strings.TrimPrefix(p, string(k)))
	}
	return matching(paths, typed), cobra.ShellCompDirectiveNoFileComp
}

// ids asks the running tandem, which may not be there, for ids that begin with what was typed.
func (s *session) ids(ctx context.Context, k tandem.Kind, typed string) []string {
	const enough, patience = 100, time.Second
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var found []string
	after := typed
	if k == tandem.KindZone {
		after = "" // zones are listed by their labels from the right
	} else if _, err := s.door().Get(ctx, k, typed); typed != "" && err == nil {
		found = append(found, typed)
	}
	page, err := s.door().List(ctx, k, "", after, enough)
	if err != nil {
		return found
	}
	for _, item := range page.Items {
		var head tandem.Head
		if json.Unmarshal(item, &head) == nil {
			found = append(found, head.ID)
		}
	}
	return matching(found, typed)
}

func matching(all []string, typed string) []string {
	var out []string
	for _, a := range all {
		if strings.HasPrefix(a, typed) {
			out = append(out, a)
		}
	}
	return out
}
