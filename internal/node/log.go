package node

import (
	"fmt"
	"io"
	"log/slog"

	"tandem/internal/tandem"
)

// Log says what is logged and how.
type Log struct {
	Level  level  `yaml:"level"`  // debug, info, warn or error; info
	Format string `yaml:"format"` // text or json; text
}

// level is a slog.Level in the words of the configuration file.
type level slog.Level

// UnmarshalText sets l from its name.
func (l *level) UnmarshalText(text []byte) error {
	switch string(text) {
	case "debug":
		*l = level(slog.LevelDebug)
	case "info":
		*l = level(slog.LevelInfo)
	case "warn":
		*l = level(slog.LevelWarn)
	case "error":
		*l = level(slog.LevelError)
	default:
		return fmt.Errorf("unknown level %q", text)
	}
	return nil
}

// Validate reports an unknown format.
func (l Log) Validate() error {
	switch l.Format {
	case "", "text", "json":
		return nil
	}
	return tandem.FieldError{Field: "format", Reason: fmt.Sprintf("%q is not text or json", l.Format)}
}

// Logger returns a logger that writes to w as l says.
func (l Log) Logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.Level(l.Level)}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
