package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"tandem/dnsd/zonefile"
	"tandem/internal/control"
	"tandem/internal/node"
	"tandem/internal/tandem"
)

const zoneImportHelp = `Makes zones of files of zone text: of one, or of all in a folder and those below it whose names end in
.zone or .db or begin with db.

A file's zone is the one that its SOA record stands at, else its first $ORIGIN, else the file's name
without db. or .zone. A zone that exists already gets the records and keeps all else.

Every file is taken whole or not at all: what is wrong is told as file:line and the other files are
imported. The text is kept as it is written, comments too; only a text with $INCLUDE is written anew.
tandem zone check tells more about a file.`

const zoneImportExample = `  tandem zone import example.net.zone
  tandem zone import /etc/bind/zones --dry-run
  tandem zone import /etc/bind/zones --progress=plain`

// zoneImport is one import under way.
type zoneImport struct {
	*session
	role   tandem.ZoneRole
	dry    bool
	bar    progress
	stored map[string]json.RawMessage // zones that exist, by id
	files  []string

	mu     sync.Mutex
	faults []string
	zones  map[string]string // file by zone id
}

func newZoneImport(s *session) *cobra.Command {
	i := &zoneImport{session: s, bar: progress{session: s}, zones: map[string]string{}, stored: map[string]json.RawMessage{}}
	var role string
	cmd := &cobra.Command{
		Use: "import FILE|DIR", Short: "Make zones of files of zone text", Long: zoneImportHelp, Example: zoneImportExample,
		Args: between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			i.role = tandem.ZoneRole(role)
			return i.run(cmd.Context(), args[0])
		},
	}
	cmd.Flags().StringVar(&role, "role", "plain", "role of zones that do not exist yet: plain, accounts or service")
	cmd.Flags().BoolVar(&i.dry, "dry-run", false, "only tell what would be done")
	i.bar.flag(cmd)
	s.waitFlag(cmd)
	s.shrinkFlag(cmd)
	return cmd
}

func (i *zoneImport) run(ctx context.Context, path string) error {
	began := time.Now()
	var err error
	if i.files, err = zoneFiles(path); err != nil {
		return misuse("%v", err)
	}
	if err := i.loadStored(ctx); err != nil {
		return err
	}
	i.bar.start()
	defer i.bar.end()
	out, in := io.Pipe()
	go func() { in.CloseWithError(i.produce(ctx, in)) }()
	result, err := i.deliver(ctx, out)
	_ = out.Close() // ends the producer when the server would not hear it out
	i.bar.end()
	if err = i.located(err); err != nil {
		i.complain()
		return err
	}
	i.complain()
	if err := i.served(ctx, result.Revision); err != nil {
		return err
	}
	i.printf("%s: %s\n", plural(len(i.files), "file"), imported(result, len(i.faults), i.dry, time.Since(began)))
	if len(i.faults) > 0 {
		return fmt.Errorf("%s not imported", plural(len(i.files)-len(i.zones), "file"))
	}
	return nil
}

// imported says in a line what an import came to.
func imported(r control.Result, faults int, dry bool, took time.Duration) string {
	would := ""
	if dry {
		would = "would be "
	}
	line := fmt.Sprintf("zones %s%s created, %s changed, %s unchanged; %s", would,
		thousands(int64(r.Created)), thousands(int64(r.Changed)), thousands(int64(r.Unchanged)), plural(faults, "fault"))
	if took > 2*time.Second {
		line += fmt.Sprintf("; %.1f s", took.Seconds())
	}
	return line
}

// zoneFiles returns the files to import, in order.
func zoneFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}, err
	}
	var files []string
	err = filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		base := filepath.Base(name)
		if err == nil && d.Type().IsRegular() && (strings.HasSuffix(base, ".zone") || strings.HasSuffix(base, ".db") || strings.HasPrefix(base, "db.")) {
			files = append(files, name)
		}
		return err
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s holds no file *.zone, *.db or db.*", path)
	}
	return files, err
}

// loadStored remembers the zones that exist, without their records. A dry run may be without a server.
func (i *zoneImport) loadStored(ctx context.Context) error {
	for after := ""; ; {
		page, err := i.door().List(ctx, tandem.KindZone, "", after, 1000)
		if err != nil {
			if i.dry && errors.Is(err, control.ErrUnreachable) {
				return nil
			}
			return err
		}
		for _, item := range page.Items {
			var z map[string]json.RawMessage
			if err := json.Unmarshal(item, &z); err != nil {
				return fmt.Errorf("a zone's document: %w", err)
			}
			delete(z, "records")
			delete(z, "revision")
			var id string
			if err := json.Unmarshal(z["id"], &id); err != nil {
				return fmt.Errorf("a zone's id: %w", err)
			}
			if i.stored[id], err = json.Marshal(z); err != nil {
				return fmt.Errorf("a zone's document: %w", err)
			}
		}
		if after = page.Next; after == "" {
			return nil
		}
	}
}

// produce writes a document for every file that is well, in the order of the files.
func (i *zoneImport) produce(ctx context.Context, to io.Writer) error {
	type made struct {
		document []byte
		done     chan struct{}
	}
	queue := make(chan *made, 4*runtime.GOMAXPROCS(0))
	room := make(chan struct{}, runtime.GOMAXPROCS(0))
	go func() {
		defer close(queue)
		for _, file := range i.files {
			m := &made{done: make(chan struct{})}
			select {
			case queue <- m:
			case <-ctx.Done():
				return
			}
			room <- struct{}{}
			go func() {
				defer func() { <-room; close(m.done) }()
				m.document = i.document(file)
			}()
		}
	}()
	n := 0
	for m := range queue {
		<-m.done
		n++
		i.bar.at("check", int64(n), int64(len(i.files)))
		if m.document == nil {
			continue
		}
		if _, err := to.Write(m.document); err != nil {
			for m := range queue { // let the others end
				<-m.done
			}
			return err
		}
	}
	return ctx.Err()
}

// document returns the document of a file's zone, nil when something is wrong with it, which is noted.
func (i *zoneImport) document(file string) []byte {
	text, err := os.ReadFile(file)
	if err != nil {
		i.fault(err.Error())
		return nil
	}
	id, records, faults := readZone(file, text)
	if len(faults) > 0 {
		for _, f := range faults {
			i.fault(f)
		}
		return nil
	}
	head := i.stored[id]
	if head == nil {
		head, _ = json.Marshal(map[string]string{"kind": "Zone", "id": id, "role": string(i.role)}) // strings always can be
	}
	var z tandem.Zone
	if err := json.Unmarshal(head, &z); err == nil {
		z.Records = records
		if err := node.CheckZone(&z); err != nil {
			i.fault(placed(file, err))
			return nil
		}
	}
	quoted, _ := json.Marshal(records) // strings always can be
	i.mu.Lock()
	defer i.mu.Unlock()
	if other, twice := i.zones[id]; twice {
		i.faults = append(i.faults, fmt.Sprintf("%s:1: zone %s stands in %s too", file, id, other))
		return nil
	}
	i.zones[id] = file
	return fmt.Appendf(nil, "%s,\"records\":%s}\n", bytes.TrimSuffix(head, []byte("}")), quoted)
}

func (i *zoneImport) fault(text string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.faults = append(i.faults, text)
}

// placed puts the file's name before a fault of records, "records: line 3: ...".
func placed(file string, err error) string {
	var field tandem.FieldError
	if errors.As(err, &field) {
		var line int
		if n, _ := fmt.Sscanf(field.Reason, "line %d:", &line); n == 1 {
			_, reason, _ := strings.Cut(field.Reason, ": ")
			return fmt.Sprintf("%s:%d: %s", file, line, reason)
		}
	}
	return fmt.Sprintf("%s:1: %v", file, err)
}

// readZone finds a file's zone, and returns its text, or what is wrong with it.
func readZone(file string, text []byte) (id, records string, faults []string) {
	origin, err := zoneOrigin(file, text)
	if err != nil {
		return "", "", []string{fmt.Sprintf("%s:1: %v", file, err)}
	}
	id = strings.ToLower(strings.TrimSuffix(zonefile.NameText(origin), "."))
	if !bytes.Contains(bytes.ToUpper(text), []byte("$INCLUDE")) {
		return id, string(text), nil // the check of the zone reads it
	}
	r := zonefile.NewReader(bytes.NewReader(text), zonefile.Options{Origin: origin, File: file, Include: includeFile})
	defer r.Close()
	var out []byte
	for {
		rec, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return id, string(out), faults
		case err != nil:
			if faults = append(faults, err.Error()); len(faults) >= 20 {
				return id, "", faults
			}
		default:
			out = append(rec.AppendText(out), '\n')
		}
	}
}

// zoneOrigin returns the apex of a file's zone: its SOA's owner, its first $ORIGIN, or by the file's name.
func zoneOrigin(file string, text []byte) (string, error) {
	base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "db."), ".zone"), ".db")
	named, err := zonefile.ParseName(base+".", "")
	if err != nil {
		named = "\x00"
	}
	r := zonefile.NewReader(bytes.NewReader(text), zonefile.Options{Origin: named, Include: nil})
	first := ""
	for range 100 { // the SOA stands in front
		rec, readErr := r.Next()
		if errors.Is(readErr, io.EOF) {
			break
		}
		if readErr != nil {
			continue
		}
		if first == "" {
			first = r.Origin()
		}
		if rec.Type == zonefile.TypeSOA {
			return zonefile.Fold(rec.Owner), nil
		}
	}
	if first = cmp.Or(first, named); first == "\x00" {
		return "", errors.New("no SOA, no $ORIGIN, and the file's name is no zone's")
	}
	return zonefile.Fold(first), nil
}

// deliver sends the documents, or for a dry run asks what they would change.
func (i *zoneImport) deliver(ctx context.Context, documents io.Reader) (control.Result, error) {
	counted := &lineCount{Reader: documents}
	if !i.dry {
		return i.shrinking().Apply(ctx, "zones.jsonl", counted, i.bar.event)
	}
	result, err := i.door().Diff(ctx, "zones.jsonl", counted, i.bar.event)
	if errors.Is(err, control.ErrUnreachable) {
		_, err = io.Copy(io.Discard, counted)
		result = control.Result{Created: counted.n, Total: counted.n}
	}
	return result, err
}

// lineCount counts lines as they pass.
type lineCount struct {
	io.Reader
	n int
}

func (l *lineCount) Read(b []byte) (int, error) {
	n, err := l.Reader.Read(b)
	l.n += bytes.Count(b[:n], []byte{'\n'})
	return n, err
}

// located turns the server's faults, whose lines are documents, into ones of files.
func (i *zoneImport) located(err error) error {
	var refused *control.Error
	if !errors.As(err, &refused) {
		return err
	}
	order := make([]string, 0, len(i.zones))
	sent := map[string]bool{}
	for _, file := range i.zones {
		sent[file] = true
	}
	for _, file := range i.files {
		if sent[file] {
			order = append(order, file)
		}
	}
	for n := range refused.Faults {
		if f := &refused.Faults[n]; f.Line > 0 && f.Line <= len(order) {
			f.File, f.Line = order[f.Line-1], 1
		}
	}
	return err
}

// complain tells what is wrong with files, in their order.
func (i *zoneImport) complain() {
	slices.Sort(i.faults)
	for _, f := range i.faults {
		fmt.Fprintln(i.errs, f)
	}
}
