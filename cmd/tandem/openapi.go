package main

import (
	"github.com/spf13/cobra"

	"tandem/internal/control"
)

func newOpenAPI(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "openapi", Short: "Print the description of the management API",
		Long:    "Prints the OpenAPI 3.1 description of the management API, which the running tandem also gives at\n/v1/openapi.json. It needs no running tandem.",
		Example: "  tandem openapi > tandem.json\n  curl --unix-socket run/tandem.sock http://tandem/v1/openapi.json",
		Args:    none,
		RunE: func(*cobra.Command, []string) error {
			description, err := control.OpenAPI()
			if err != nil {
				return err
			}
			_, err = s.out.Write(description)
			return err
		},
	}
}
