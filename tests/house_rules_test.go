package tests

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strings"
)

const (
	mostFunctionLines = 100
	mostFileLines     = 500
)

// source is one parsed file.
type source struct {
	path  string // relative to the module, with slashes
	lines int
	file  *ast.File
	fset  *token.FileSet
}

func parseSource(path, text string) (source, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, text, parser.ParseComments|parser.SkipObjectResolution)
	return source{path: path, lines: strings.Count(text, "\n"), file: file, fset: fset}, err
}

func (s source) folder() string { return path.Dir(s.path) }
func (s source) isTest() bool   { return strings.HasSuffix(s.path, "_test.go") }

// at words a fault with its place.
func (s source) at(pos token.Pos, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", s.path, s.fset.Position(pos).Line, fmt.Sprintf(format, args...))
}

// houseRule finds faults in a set of sources.
type houseRule struct {
	name  string
	check func([]source) []string
}

func houseRules() []houseRule {
	return []houseRule{
		{"imports", eachSource(checkImports)},
		{"names", eachSource(checkName)},
		{"comments", checkComments},
		{"state", checkState},
		{"size", eachSource(checkSize)},
	}
}

func eachSource(check func(source) []string) func([]source) []string {
	return func(sources []source) (faults []string) {
		for _, s := range sources {
			faults = append(faults, check(s)...)
		}
		return faults
	}
}

// byFolder gathers the product's own sources, tests left out, package by package.
func byFolder(sources []source) map[string][]source {
	folders := make(map[string][]source)
	for _, s := range sources {
		if !s.isTest() {
			folders[s.folder()] = append(folders[s.folder()], s)
		}
	}
	return folders
}

// roomOf returns the room that a folder belongs to, "" when there is none.
func roomOf(folder string) string {
	for ; folder != "." && folder != "/"; folder = path.Dir(folder) {
		if _, ok := rooms[folder]; ok {
			return folder
		}
	}
	return ""
}

func checkImports(s source) (faults []string) {
	own := roomOf(s.folder())
	if own == "" {
		return []string{s.at(s.file.Package, "%s is no room of the house: give it a row here and in docs/architecture.md", s.folder())}
	}
	for _, spec := range s.file.Imports {
		name := strings.Trim(spec.Path.Value, `"`)
		if reason := mayNotImport(own, name, s.isTest()); reason != "" {
			faults = append(faults, s.at(spec.Pos(), "%s may not import %s: %s", own, name, reason))
		}
	}
	return faults
}

// mayNotImport says why a room may not import a package, "" when it may.
func mayNotImport(own, name string, test bool) string {
	if ours, ok := strings.CutPrefix(name, "tandem/"); ok {
		return mayNotEnter(own, ours)
	}
	if first, _, _ := strings.Cut(name, "/"); !strings.Contains(first, ".") {
		return ""
	}
	here := append(strings.Fields(rooms[own].libraries), everywhere)
	if test {
		here = append(here, everyTesting)
	}
	for _, library := range here {
		if name == library || strings.HasPrefix(name, library+"/") {
			return ""
		}
	}
	for other, r := range rooms {
		for _, library := range strings.Fields(r.libraries) {
			if name == library || strings.HasPrefix(name, library+"/") {
				return "it lives in " + other
			}
		}
	}
	return "it lives in no room; a new module needs its reason in the change and a row here"
}

// mayNotEnter says why a room may not import another folder of ours.
func mayNotEnter(own, ours string) string {
	target := roomOf(ours)
	switch {
	case target == "":
		return "it is no room of the house"
	case target == own:
		return ""
	case ours != target:
		return "a folder below a room is for that room alone"
	case rooms[own].ours == "rooms" && target != "tests" && target != "cmd/tandem":
		return ""
	case !slices.Contains(strings.Fields(rooms[own].ours), target):
		return "rooms share the vocabulary and meet in internal/node"
	}
	return ""
}

func checkName(s source) []string {
	switch name := strings.TrimSuffix(s.file.Name.Name, "_test"); name {
	case "util", "utils", "common", "helper", "helpers", "types", "models":
		return []string{s.at(s.file.Name.Pos(), "a package called %s says nothing: put each function beside its caller", name)}
	}
	return nil
}

func checkSize(s source) (faults []string) {
	if s.isTest() {
		return nil
	}
	if s.lines > mostFileLines {
		faults = append(faults, fmt.Sprintf("%s: %d lines, at most %d", s.path, s.lines, mostFileLines))
	}
	for _, decl := range s.file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		lines := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
		if lines > mostFunctionLines {
			faults = append(faults, s.at(f.Pos(), "%s has %d lines, at most %d", f.Name.Name, lines, mostFunctionLines))
		}
	}
	return faults
}

func checkComments(sources []source) (faults []string) {
	for folder, files := range byFolder(sources) {
		documented := false
		for _, s := range files {
			documented = documented || s.file.Doc.Text() != ""
			faults = append(faults, checkDocs(s)...)
		}
		if !documented {
			faults = append(faults, fmt.Sprintf("%s: the package has no comment that says what it is for", folder))
		}
	}
	return faults
}

// checkDocs finds exported names without a comment.
func checkDocs(s source) (faults []string) {
	shared := -1 // the last line of a one-line function with a comment that its neighbours share
	for _, decl := range s.file.Decls {
		switch d := decl.(type) {
		case *ast.GenDecl:
			faults = append(faults, checkGroup(s, d)...)
		case *ast.FuncDecl:
			first, last := s.fset.Position(d.Pos()).Line, s.fset.Position(d.End()).Line
			documented := d.Doc.Text() != "" || first == shared+1
			if !documented && d.Name.IsExported() && hasExportedReceiver(d) && !isWellKnown(d) {
				faults = append(faults, s.at(d.Pos(), "%s is exported and has no comment", d.Name.Name))
			}
			if documented && first == last {
				shared = last
			}
		}
	}
	return faults
}

func checkGroup(s source, d *ast.GenDecl) (faults []string) {
	if d.Doc.Text() != "" && d.Tok != token.TYPE {
		return nil
	}
	for _, spec := range d.Specs {
		var names []*ast.Ident
		var doc string
		switch x := spec.(type) {
		case *ast.TypeSpec:
			names, doc = []*ast.Ident{x.Name}, x.Doc.Text()+d.Doc.Text()
		case *ast.ValueSpec:
			names, doc = x.Names, x.Doc.Text()+x.Comment.Text()
		}
		for _, name := range names {
			if name.IsExported() && doc == "" {
				faults = append(faults, s.at(name.Pos(), "%s is exported and has no comment", name.Name))
			}
		}
	}
	return faults
}

// hasExportedReceiver reports whether f is a function, or a method of an exported type.
func hasExportedReceiver(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return true
	}
	kind := f.Recv.List[0].Type
	for {
		switch x := kind.(type) {
		case *ast.StarExpr:
			kind = x.X
		case *ast.IndexExpr:
			kind = x.X
		case *ast.IndexListExpr:
			kind = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

// isWellKnown reports whether f is a method whose meaning the standard library has fixed.
func isWellKnown(f *ast.FuncDecl) bool {
	return f.Recv != nil && slices.Contains([]string{
		"Error", "String", "Unwrap", "Is", "Len", "Less", "Swap", "Read", "Write", "LogValue",
	}, f.Name.Name)
}
