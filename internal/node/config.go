package node

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"tandem/dnsd"
	"tandem/httpproxy"
	"tandem/internal/control"
	"tandem/internal/tandem"
	"tandem/provision"
	"tandem/sipproxy"
	"tandem/store"
)

// Config is the configuration file. A section that is absent is a part that is not built; data,
// store, log and tls belong to no part.
type Config struct {
	Data  string       `yaml:"data"` // the data directory
	Store store.Config `yaml:"store"`
	Log   Log          `yaml:"log"`
	TLS   TLS          `yaml:"tls"`

	Control   *control.Config   `yaml:"control"`
	DNS       *dnsd.Config      `yaml:"dns"`
	SIP       *sipproxy.Config  `yaml:"sip"`
	LB        *LB               `yaml:"lb"` // also built, as its defaults say, when there is sip
	HTTP      *httpproxy.Config `yaml:"http"`
	Provision *Provision        `yaml:"provision"`
	Metrics   *Metrics          `yaml:"metrics"`
}

// Provision is where devices are configured, and how.
type Provision struct {
	Listen           netip.AddrPort `yaml:"listen"` // always TLS
	provision.Config `yaml:",inline"`
}

// Validate reports a missing address, or what the part finds.
func (p Provision) Validate() error {
	if !p.Listen.IsValid() {
		return tandem.FieldError{Field: "listen", Reason: "is missing: an address and port such as 127.0.0.1:8445"}
	}
	return p.Config.Validate()
}

// mostConfig bounds a configuration file, in octets.
const mostConfig = 1 << 20

// Load reads and checks a configuration file. Its relative paths begin at the file's own folder. An
// error is one line that begins with the file and, where there is one, line and column.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, mostConfig+1))
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if len(text) > mostConfig {
		return nil, &fault{file: path, text: "is longer than 1 MiB"}
	}
	return parse(path, text)
}

// parse reads and checks the text of a configuration file.
func parse(path string, text []byte) (*Config, error) {
	cfg := new(Config)
	d, err := decode(path, text, cfg)
	if err != nil {
		return nil, err
	}
	cfg.resolve(filepath.Dir(path))
	if err := cfg.Validate(); err != nil {
		return nil, d.place(err)
	}
	return cfg, nil
}

// place turns a fault found after decoding into one with a position.
func (d *decoder) place(err error) error {
	var bad tandem.FieldError
	if !errors.As(err, &bad) {
		return &fault{file: d.file, text: oneLine(err.Error())}
	}
	for path := bad.Field; path != ""; path = path[:max(0, strings.LastIndexAny(path, ".["))] {
		if at, ok := d.positions[path]; ok {
			return &fault{d.file, at, bad.Error()}
		}
	}
	return &fault{file: d.file, text: bad.Error()}
}

// resolve makes relative paths begin at dir.
func (c *Config) resolve(dir string) {
	paths := []*string{&c.Data, &c.TLS.Authority}
	if c.Control != nil {
		paths = append(paths, &c.Control.Socket, &c.Control.Spool)
	}
	if c.DNS != nil {
		paths = append(paths, c.DNS.TLS.Files()...)
		paths = append(append(paths, c.DNS.Dnstap.Files()...), c.DNS.QueryLog.Files()...)
	}
	if c.LB != nil && c.LB.Leases != nil {
		paths = append(paths, c.LB.Leases.files()...)
	}
	for i := range c.TLS.Certificates {
		paths = append(paths, &c.TLS.Certificates[i].Certificate, &c.TLS.Certificates[i].Key)
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}

// Validate reports the first fault as a tandem.FieldError whose field is a path from the file's top.
func (c *Config) Validate() error {
	if c.Data == "" {
		return tandem.FieldError{Field: "data", Reason: "is missing: the data directory"}
	}
	any := false
	for _, s := range c.sections() {
		if v := reflect.ValueOf(s.config); v.Kind() == reflect.Pointer && v.IsNil() {
			continue
		}
		any = any || s.part
		if err := s.config.Validate(); err != nil {
			return inSection(s.name, err)
		}
	}
	switch {
	case !any:
		return errors.New("names no part to run, such as dns or sip")
	case c.SIP != nil && c.DNS == nil:
		return tandem.FieldError{Field: "sip", Reason: "needs the section dns: names are resolved by it"}
	case c.HTTP != nil && c.DNS == nil:
		return tandem.FieldError{Field: "http", Reason: "needs the section dns: names are resolved by it"}
	}
	return nil
}

// section is one key of the file's top level that checks itself.
type section struct {
	name   string
	part   bool
	config interface{ Validate() error }
}

func (c *Config) sections() []section {
	return []section{
		{"store", false, c.Store}, {"log", false, c.Log}, {"tls", false, c.TLS}, {"control", true, c.Control}, {"dns", true, c.DNS}, {"sip", true, c.SIP}, {"lb", true, c.LB},
		{"http", true, c.HTTP}, {"provision", true, c.Provision}, {"metrics", true, c.Metrics},
	}
}

// inSection returns a part's first fault with its field's path from the file's top.
func inSection(section string, err error) error {
	var all tandem.FieldErrors
	var one tandem.FieldError
	switch {
	case errors.As(err, &all) && len(all) > 0:
		one = all[0]
	case errors.As(err, &one):
	default:
		one.Field, one.Reason = splitFault(section, oneLine(err.Error()))
	}
	one.Field = strings.TrimSuffix(section+"."+one.Field, ".")
	return one
}

// splitFault takes apart a fault told in words, such as "sip.listeners[0].name: is missing".
func splitFault(section, text string) (field, reason string) {
	text = strings.TrimPrefix(text, section+": ")
	text = strings.TrimPrefix(text, section+".")
	field, reason, ok := strings.Cut(text, ": ")
	if !ok || strings.ContainsAny(field, " \"/") {
		return "", text
	}
	return field, reason
}
