package tests

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The documentation's examples are run. The convention:
//
//	```sh run        the commands are run by bash in order, page by page, beside a running lab; the
//	                 working directory holds ./tandem
//	```output        what the block above it must print: every line of it, in order, with others
//	                 between them if need be; ... within a line stands for anything
//	<!-- not run: REASON -->
//	```sh            commands that are shown only, and why
//
// A shell block that is neither run nor has a reason is a fault.

// example is one block of commands and what they must print.
type example struct {
	place   string // page and line
	script  string
	run     bool
	expects []string
}

// readExamples finds the shell blocks of a page.
func readExamples(page, text string) (examples []example, faults []string) {
	lines := strings.Split(text, "\n")
	reason := ""
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		language, opens := strings.CutPrefix(line, "```")
		if !opens {
			if line != "" {
				reason = line
			}
			continue
		}
		start := i
		for i++; i < len(lines) && strings.TrimSpace(lines[i]) != "```"; i++ {
		}
		body := lines[start+1 : min(i, len(lines))]
		place := fmt.Sprintf("%s:%d", page, start+1)
		switch language {
		case "sh run":
			examples = append(examples, example{place: place, script: strings.Join(body, "\n"), run: true})
		case "output":
			if len(examples) == 0 {
				faults = append(faults, place+": output of no commands")
				continue
			}
			examples[len(examples)-1].expects = body
		case "sh", "bash", "shell", "console":
			if !strings.HasPrefix(reason, "<!-- not run: ") {
				faults = append(faults, place+": a shell block is tagged sh run, or <!-- not run: REASON --> stands above it")
			}
		}
		reason = ""
	}
	return examples, faults
}

// missingOutput returns the first expected line that output lacks, in order, "" when it has all.
func missingOutput(expects []string, output string) string {
	lines := strings.Split(output, "\n")
	for _, want := range expects {
		i := slices.IndexFunc(lines, func(line string) bool { return matchesExample(want, line) })
		if i < 0 {
			return want
		}
		lines = lines[i+1:]
	}
	return ""
}

// matchesExample reports whether line holds the parts of want, in order; runs of spaces are one.
func matchesExample(want, line string) bool {
	rest := strings.Join(strings.Fields(line), " ")
	for part := range strings.SplitSeq(want, "...") {
		part = strings.Join(strings.Fields(part), " ")
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return true
}

func TestDocsConvention(t *testing.T) {
	text := "# Page\n\n```sh run\necho a\necho b\n```\n\n```output\na\nb...\n```\n\n<!-- not run: needs a phone -->\n```sh\nreboot\n```\n\n```sh\nhalt\n```\n\n```yaml\na: 1\n```\n"
	examples, faults := readExamples("page.md", text)
	if len(examples) != 1 || examples[0].script != "echo a\necho b" || !slices.Equal(examples[0].expects, []string{"a", "b..."}) {
		t.Errorf("readExamples = %+v, want the one block that is run, with its output", examples)
	}
	if len(faults) != 1 || !strings.HasPrefix(faults[0], "page.md:18:") {
		t.Errorf("faults = %q, want one for the block on line 18", faults)
	}
	for _, c := range []struct {
		expects []string
		output  string
		want    string
	}{
		{[]string{"a", "c"}, "a\nb\nc\n", ""},
		{[]string{"c", "a"}, "a\nb\nc\n", "a"},
		{[]string{"id ... zone"}, "id   1001  zone\n", ""},
		{[]string{"id ... zone"}, "zone id\n", "id ... zone"},
	} {
		if got := missingOutput(c.expects, c.output); got != c.want {
			t.Errorf("missingOutput(%q, %q) = %q, want %q", c.expects, c.output, got, c.want)
		}
	}
}

// TestDocs runs the examples of README.md and docs/ beside a lab.
func TestDocs(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples []example
	for _, page := range append([]string{"../README.md"}, pages...) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		found, faults := readExamples(strings.TrimPrefix(page, "../"), string(text))
		for _, fault := range faults {
			t.Error(fault)
		}
		examples = append(examples, found...)
	}
	if len(examples) < 5 {
		t.Errorf("found %d examples that are run, want those of the README", len(examples))
	}
	dir := startLab(t)
	for _, e := range examples {
		t.Run(e.place, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", e.script)
			cmd.Dir = dir
			cmd.WaitDelay = time.Second
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%s\n%v\n%s", e.script, err, out)
			}
			if lacks := missingOutput(e.expects, string(out)); lacks != "" {
				t.Errorf("%s\nprinted\n%s\nwhich lacks %q", e.script, out, lacks)
			}
		})
	}
}
