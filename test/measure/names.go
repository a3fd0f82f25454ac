package main

import (
	"go/ast"
	"go/token"
	"iter"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// name is a top-level name of the package in a directory.
type name struct{ dir, ident string }

// exportedNames returns how many exported top-level names the packages below internal/
// have, and which of them no other package uses: neither by name nor because they are in
// the declaration of another one that is used. Constants of one declaration are an
// enumeration, and used together.
func (s sources) exportedNames() (count int, unused []name) {
	declared, mentions := map[name]bool{}, map[name][]string{}
	for file, syntax := range s.syntax {
		if isTest(file) || !strings.HasPrefix(file, "internal/") {
			continue
		}
		for _, decl := range syntax.Decls {
			for ident, node := range declarations(decl) {
				declared[name{path.Dir(file), ident}] = ast.IsExported(ident)
				mentions[name{path.Dir(file), ident}] = append(mentions[name{path.Dir(file), ident}], identsOf(node)...)
			}
		}
	}
	used := map[name]bool{}
	var use func(n name)
	use = func(n name) {
		if _, known := declared[n]; !known || used[n] {
			return
		}
		used[n] = true
		for _, ident := range mentions[n] {
			use(name{n.dir, ident})
		}
	}
	for _, n := range s.usesElsewhere() {
		use(n)
	}
	maps.DeleteFunc(declared, func(_ name, exported bool) bool { return !exported })
	count = len(declared)
	maps.DeleteFunc(declared, func(n name, _ bool) bool { return used[n] })
	return count, sortedNames(maps.Keys(declared))
}

// declarations returns the top-level names that a declaration introduces, each with what
// others can see of it: a signature, a type, but no body and no value. A method belongs
// to the name of its type.
func declarations(decl ast.Decl) map[string]ast.Node {
	names := map[string]ast.Node{}
	switch decl := decl.(type) {
	case *ast.FuncDecl:
		ident := decl.Name.Name
		if decl.Recv != nil {
			if !decl.Name.IsExported() {
				return nil
			}
			ident = receiverOf(decl)
		}
		names[ident] = decl.Type
	case *ast.GenDecl:
		for _, spec := range decl.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				names[spec.Name.Name] = spec.Type
			case *ast.ValueSpec:
				for _, ident := range spec.Names {
					names[ident.Name] = spec.Type
					if decl.Tok == token.CONST {
						names[ident.Name] = namesIn(decl)
					}
				}
			}
		}
	}
	return names
}

// namesIn returns the names that a declaration of constants introduces.
func namesIn(decl *ast.GenDecl) ast.Node {
	var names ast.CompositeLit
	for _, spec := range decl.Specs {
		for _, ident := range spec.(*ast.ValueSpec).Names {
			names.Elts = append(names.Elts, ident)
		}
	}
	return &names
}

func receiverOf(decl *ast.FuncDecl) string {
	for _, ident := range identsOf(decl.Recv.List[0].Type) {
		return ident
	}
	return ""
}

// identsOf returns the identifiers in a node, which may be nil.
func identsOf(node ast.Node) []string {
	var idents []string
	if node == nil || node == ast.Expr(nil) {
		return nil
	}
	ast.Inspect(node, func(n ast.Node) bool {
		if ident, ok := n.(*ast.Ident); ok {
			idents = append(idents, ident.Name)
		}
		return true
	})
	return idents
}

// usesElsewhere returns the top-level names that files of other packages use. A test in
// the same directory is no other package, even if it is called so.
func (s sources) usesElsewhere() []name {
	var uses []name
	for file, syntax := range s.syntax {
		for ident, dir := range importsOf(syntax) {
			if dir == path.Dir(file) {
				continue
			}
			for _, selected := range selectedFrom(syntax, ident) {
				uses = append(uses, name{dir, selected})
			}
		}
	}
	return uses
}

// importsOf returns the directories of the project's packages that a file imports, by the
// names that they have in it.
func importsOf(file *ast.File) map[string]string {
	imports := map[string]string{}
	for _, spec := range file.Imports {
		full, err := strconv.Unquote(spec.Path.Value)
		dir, ours := strings.CutPrefix(full, "gotmpns/")
		if err != nil || !ours {
			continue
		}
		ident := path.Base(dir)
		if spec.Name != nil {
			ident = spec.Name.Name
		}
		imports[ident] = dir
	}
	return imports
}

// selectedFrom returns the names that a file uses of an imported package.
func selectedFrom(file *ast.File, imported string) []string {
	var names []string
	ast.Inspect(file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := selector.X.(*ast.Ident); ok && x.Name == imported {
			names = append(names, selector.Sel.Name)
		}
		return true
	})
	return names
}

// sharedFunctions returns the functions of the product, without methods, that are called
// from a file other than their own.
func (s sources) sharedFunctions() []name {
	home := map[name]string{} // of each function, its file
	for file, syntax := range s.syntax {
		if isTest(file) {
			continue
		}
		for _, decl := range syntax.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil {
				home[name{path.Dir(file), f.Name.Name}] = file
			}
		}
	}
	shared := map[name]bool{}
	for file, syntax := range s.syntax {
		if isTest(file) {
			continue
		}
		for _, n := range calledIn(path.Dir(file), syntax) {
			if home[n] != "" && home[n] != file {
				shared[n] = true
			}
		}
	}
	return sortedNames(maps.Keys(shared))
}

// withOneWord returns the names that have one word.
func withOneWord(names []name) []name {
	return slices.DeleteFunc(slices.Clone(names), func(n name) bool { return words(n.ident) > 1 })
}

func sortedNames(names iter.Seq[name]) []name {
	return slices.SortedFunc(names, func(a, b name) int { return strings.Compare(a.dir+"."+a.ident, b.dir+"."+b.ident) })
}

// calledIn returns the functions that a file of a directory calls.
func calledIn(dir string, file *ast.File) []name {
	var names []name
	imports := importsOf(file)
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		switch f := call.Fun.(type) {
		case *ast.Ident:
			names = append(names, name{dir, f.Name})
		case *ast.SelectorExpr:
			if x, ok := f.X.(*ast.Ident); ok && imports[x.Name] != "" {
				names = append(names, name{imports[x.Name], f.Sel.Name})
			}
		}
		return true
	})
	return names
}

// words returns of how many words a name is: "openBelow" of two, "parseURL" of two.
func words(ident string) int {
	count := 1
	runes := []rune(ident)
	for i := 1; i < len(runes); i++ {
		if unicode.IsUpper(runes[i]) && !unicode.IsUpper(runes[i-1]) {
			count++
		}
	}
	return count
}
