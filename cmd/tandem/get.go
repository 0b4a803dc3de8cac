package main

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"tandem/internal/control"
	"tandem/internal/tandem"
)

const getHelp = `Shows objects of one kind, or one of them.

The table fits the terminal; yaml and json show everything except secrets, in the form that apply
takes: yaml as documents between lines of ---, json as one object a line.`

const getExample = `  tandem get accounts
  tandem get account 1001 -o yaml
  tandem get devices --account 1001
  tandem get accounts -o json > accounts.jsonl`

func newGet(s *session) *cobra.Command {
	var form, account string
	var limit int
	cmd := &cobra.Command{
		Use: "get KIND [ID]", Short: "Show objects", Long: getHelp, Example: getExample,
		Args: between(1, 2), ValidArgsFunction: s.completeObject,
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := kindArg(args[0])
			if err != nil {
				return err
			}
			l := &listing{session: s, kind: k, form: form, table: table{header: header(k)}}
			if len(args) == 2 {
				item, err := s.door().Get(cmd.Context(), k, args[1])
				if err != nil {
					return err
				}
				return l.page([]json.RawMessage{item})
			}
			return l.all(cmd.Context(), account, limit)
		},
	}
	outputFlag(cmd, &form, "table")
	cmd.Flags().StringVar(&account, "account", "", "only objects of this account")
	cmd.Flags().IntVar(&limit, "limit", 0, "show at most so many; 0 shows all")
	_ = cmd.RegisterFlagCompletionFunc("account", s.completeIDs(tandem.KindAccount)) // the flag exists
	return cmd
}

// listing writes objects page by page, so that a long list begins at once and needs no memory.
type listing struct {
	*session
	kind    tandem.Kind
	form    string
	table   table
	written int
}

func (l *listing) all(ctx context.Context, account string, limit int) error {
	const most = 1000
	after := ""
	for left := limit; limit == 0 || left > 0; left = limit - l.written {
		ask := most
		if limit > 0 {
			ask = min(most, left)
		}
		page, err := l.door().List(ctx, l.kind, account, after, ask)
		if err != nil {
			return err
		}
		if err := l.page(page.Items); err != nil {
			return err
		}
		if after = page.Next; after == "" {
			return nil
		}
	}
	return nil
}

func (l *listing) page(items []json.RawMessage) error {
	for _, item := range items {
		if err := l.one(item); err != nil {
			return err
		}
		l.written++
	}
	if l.form == "table" {
		l.table.print(l.out, l.width())
	}
	return nil
}

func (l *listing) one(item json.RawMessage) error {
	switch l.form {
	case "table":
		row, err := cells(l.kind, item)
		l.table.add(row...)
		return err
	case "yaml":
		if l.written > 0 {
			l.printf("---\n")
		}
		data, err := control.YAML(item)
		l.printf("%s", data)
		return err
	}
	l.printf("%s\n", item)
	return nil
}
