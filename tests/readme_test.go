package tests

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/lab"
)

// update rewrites what a test compares with: go test ./tests -run Readme -update
var update = flag.Bool("update", false, "rewrite the part of README.md that the lab gives")

// The README shows what the lab prints: one list, kept by the lab, between two marks.
func TestReadmeShowsTheLab(t *testing.T) {
	const begin, end = "<!-- the lab's list -->\n\n", "<!-- its end -->\n"
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(readme), begin)
	shown, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("README.md has no %q and %q", begin, end)
	}
	want := lab.Markdown(lab.Tries(lab.Default()))
	if diff := cmp.Diff(want, shown); diff != "" && !*update {
		t.Errorf("README.md shows another list than the lab (go test ./tests -run Readme -update mends it):\n%s", diff)
	}
	if *update {
		if err := os.WriteFile("../README.md", []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// The two commands of the README are the ones that CI runs.
func TestReadmeCommands(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"```sh\nmake run\n```", "```sh\nmake test\n```"} {
		if strings.Count(string(readme), command) != 1 {
			t.Errorf("README.md does not show %q once", command)
		}
	}
	ci, err := os.ReadFile("../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(ci)), "\n")
	if last := lines[len(lines)-1]; last != "make test" {
		t.Errorf(".ci/run ends with %q, want the README's make test", last)
	}
}
