package tests

import (
	"go/ast"
	"go/token"
	"strings"
)

// checkState finds init functions and package variables that change: those written after their
// declaration, and those whose type is made to change.
func checkState(sources []source) (faults []string) {
	for _, files := range byFolder(sources) {
		vars := make(map[string]bool)
		for _, s := range files {
			faults = append(faults, checkDeclarations(s, vars)...)
		}
		for _, s := range files {
			faults = append(faults, checkWrites(s, vars)...)
		}
	}
	return faults
}

// checkDeclarations notes the package's variables in vars and reports those that can only be there
// to change.
func checkDeclarations(s source, vars map[string]bool) (faults []string) {
	for _, decl := range s.file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			faults = append(faults, s.at(f.Pos(), "no init functions: whoever needs the work calls it"))
		}
		d, ok := decl.(*ast.GenDecl)
		if !ok || d.Tok != token.VAR {
			continue
		}
		for _, spec := range d.Specs {
			v := spec.(*ast.ValueSpec)
			for _, name := range v.Names {
				if name.Name == "_" {
					continue
				}
				vars[name.Name] = true
				if reason := madeToChange(d, v); reason != "" {
					faults = append(faults, s.at(name.Pos(), "package variable %s %s", name.Name, reason))
				}
			}
		}
	}
	return faults
}

// madeToChange says why a variable must be there to change, "" when it need not be.
func madeToChange(d *ast.GenDecl, v *ast.ValueSpec) string {
	embedded := strings.Contains(commentText(d.Doc)+commentText(v.Doc), "//go:embed")
	if len(v.Values) == 0 && !embedded {
		return "has no value: it must be there to change"
	}
	kinds := []ast.Expr{v.Type}
	for _, value := range v.Values {
		if u, ok := value.(*ast.UnaryExpr); ok {
			value = u.X
		}
		switch x := value.(type) {
		case *ast.CompositeLit:
			kinds = append(kinds, x.Type)
		case *ast.CallExpr:
			if f, ok := x.Fun.(*ast.Ident); ok && (f.Name == "make" || f.Name == "new") {
				return "is made empty: it must be there to change"
			}
		}
	}
	for _, kind := range kinds {
		if x, ok := kind.(*ast.SelectorExpr); ok {
			if from, ok := x.X.(*ast.Ident); ok && (from.Name == "sync" || from.Name == "atomic") {
				return "has a type of package " + from.Name + ": it is there to change"
			}
		}
	}
	return ""
}

// commentText returns a comment group with its directives, which Text leaves out.
func commentText(g *ast.CommentGroup) string {
	if g == nil {
		return ""
	}
	var b strings.Builder
	for _, c := range g.List {
		b.WriteString(c.Text + "\n")
	}
	return b.String()
}

// checkWrites reports assignments to the package's variables.
func checkWrites(s source, vars map[string]bool) (faults []string) {
	for _, decl := range s.file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		local := localNames(f)
		written := func(target ast.Expr) {
			name := rootName(target)
			if name != nil && vars[name.Name] && !local[name.Name] {
				faults = append(faults, s.at(name.Pos(), "package variable %s is changed by %s", name.Name, f.Name.Name))
			}
		}
		ast.Inspect(f.Body, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.AssignStmt:
				if x.Tok != token.DEFINE {
					for _, target := range x.Lhs {
						written(target)
					}
				}
			case *ast.IncDecStmt:
				written(x.X)
			case *ast.CallExpr:
				if b, ok := x.Fun.(*ast.Ident); ok && (b.Name == "delete" || b.Name == "clear") && len(x.Args) > 0 {
					written(x.Args[0])
				}
			}
			return true
		})
	}
	return faults
}

// rootName returns the variable at the bottom of x.y[z], nil when there is none.
func rootName(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// localNames lists the names that f declares anywhere within itself.
func localNames(f *ast.FuncDecl) map[string]bool {
	local := make(map[string]bool)
	fields := func(lists ...*ast.FieldList) {
		for _, list := range lists {
			if list == nil {
				continue
			}
			for _, field := range list.List {
				for _, name := range field.Names {
					local[name.Name] = true
				}
			}
		}
	}
	fields(f.Recv, f.Type.Params, f.Type.Results)
	ast.Inspect(f.Body, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.FuncLit:
			fields(x.Type.Params, x.Type.Results)
		case *ast.ValueSpec:
			for _, name := range x.Names {
				local[name.Name] = true
			}
		case *ast.AssignStmt:
			if x.Tok == token.DEFINE {
				for _, e := range x.Lhs {
					if name, ok := e.(*ast.Ident); ok {
						local[name.Name] = true
					}
				}
			}
		case *ast.RangeStmt:
			for _, e := range []ast.Expr{x.Key, x.Value} {
				if name, ok := e.(*ast.Ident); ok {
					local[name.Name] = true
				}
			}
		}
		return true
	})
	return local
}
