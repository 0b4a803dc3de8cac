package tests

import (
	"os"
	"strings"
	"testing"

	"tandem/internal/lab"
)

// The README shows what the lab prints: one list, kept by the lab.
func TestReadmeShowsTheLab(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	want := lab.Markdown(lab.Tries(lab.Default()))
	if strings.Contains(string(readme), want) {
		return
	}
	for part := range strings.SplitSeq(want, "\n\n") {
		if !strings.Contains(string(readme), part) {
			t.Errorf("README.md lacks this part of the lab's list:\n%s", part)
		}
	}
	t.Error("README.md does not show the lab's list as lab.Markdown writes it")
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
