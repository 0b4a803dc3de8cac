package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem/internal/tandem"
)

func backupOf(t *testing.T) (backup string, before Report) {
	t.Helper()
	s := openAt(t, t.TempDir())
	fill(t, s, 500)
	if err := s.PutBindings(context.Background(), []tandem.Binding{binding(1), binding(2)}); err != nil {
		t.Fatal(err)
	}
	mustRecord(t, s, callOf(1, "1001"), callOf(2, "1002"), ended(callOf(2, "1002")))
	sealed, err := s.Seal([]byte("secret"), "test")
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, s, put(&tandem.Key{Head: head("k1"), Purpose: "test", Sealed: sealed}))
	before = verify(t, s)
	backup = filepath.Join(t.TempDir(), "backup")
	if err := s.Backup(context.Background(), backup); err != nil {
		t.Fatalf("Backup: %v", err)
	}
	mustAppend(t, s, put(account("late")))
	if err := s.Backup(context.Background(), backup); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("a second Backup to the same place = %v, want a refusal", err)
	}
	return backup, before
}

func TestBackupAndRestore(t *testing.T) {
	backup, before := backupOf(t)
	dir := t.TempDir()
	if err := Restore(context.Background(), backup, dir); err != nil {
		t.Fatalf("Restore: %v", err)
	}
	s := openAt(t, dir)
	after := verify(t, s)
	if after.Calls != 2 || after.OpenCalls != 1 || after.CallEvents != 0 || after.CallEvent != before.CallEvent+restoreJump {
		t.Errorf("restored %+v, want two calls, one of them open, and event numbers far beyond %d", after, before.CallEvent)
	}
	if err := s.FollowCalls(context.Background(), admin, before.CallEvent, nil); !errors.Is(err, ErrTrimmed) {
		t.Errorf("a follower of the lost store's calls = %v, want ErrTrimmed", err)
	}
	if after.Digest != before.Digest || after.Objects != before.Objects || after.Bindings != 2 {
		t.Errorf("restored %+v, want the objects and bindings of %+v", after, before)
	}
	if after.Epoch != before.Epoch+1 || after.Revision != before.Revision+restoreJump {
		t.Errorf("restored to epoch %d and revision %d, want the next epoch and a revision far beyond %d", after.Epoch, after.Revision, before.Revision)
	}
	if err := s.Follow(context.Background(), before.Revision+1, nil); !errors.Is(err, ErrTrimmed) {
		t.Errorf("a follower of the lost store = %v, want ErrTrimmed", err)
	}
	k, err := s.Key(context.Background(), admin, "k1")
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := s.Unseal(k.Sealed, "test"); err != nil || string(plain) != "secret" {
		t.Errorf("Unseal after Restore = %q, %v", plain, err)
	}
	if last := mustAppend(t, s, put(account("new"))); last != after.Revision+1 {
		t.Errorf("the first change after Restore has revision %d, want %d", last, after.Revision+1)
	}
	if err := Restore(context.Background(), backup, dir); err == nil {
		t.Error("Restore over an open store succeeded")
	}
	s.Close()
	if err := Restore(context.Background(), backup, dir); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("Restore over a store = %v, want a refusal", err)
	}
}

// TestRestoreRefusesDamage hurts each file of a backup in turn.
func TestRestoreRefusesDamage(t *testing.T) {
	backup, _ := backupOf(t)
	m, err := readManifest(backup)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{manifestName}
	for _, f := range m.Files {
		names = append(names, f.Name)
	}
	for _, name := range names {
		hurt := copyDir(t, backup)
		path := filepath.Join(hurt, name)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) == 0 {
			continue
		}
		data[len(data)/2] ^= 0x80
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := Restore(context.Background(), hurt, dir); !errors.Is(err, ErrCorrupt) {
			t.Errorf("Restore with damaged %s = %v, want ErrCorrupt", name, err)
		}
		if s, err := Open(dir, quiet()); err == nil && name != manifestName {
			s.Close()
			t.Errorf("after a failed Restore (%s) the directory opens", name)
		}
	}
}

func TestSeal(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir)
	sealed, err := s.Seal([]byte("secret"), "Device d1")
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	info, err := os.Stat(filepath.Join(dir, keyName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("node key has mode %v, %v, want 0600", info.Mode(), err)
	}
	s = openAt(t, dir)
	if plain, err := s.Unseal(sealed, "Device d1"); err != nil || string(plain) != "secret" {
		t.Errorf("Unseal = %q, %v", plain, err)
	}
	flipped := append([]byte(nil), sealed...)
	flipped[len(flipped)-1] ^= 1
	for name, try := range map[string]func() ([]byte, error){
		"another context": func() ([]byte, error) { return s.Unseal(sealed, "Device d2") },
		"a flipped bit":   func() ([]byte, error) { return s.Unseal(flipped, "Device d1") },
		"nothing":         func() ([]byte, error) { return s.Unseal(nil, "Device d1") },
		"another version": func() ([]byte, error) { return s.Unseal([]byte{9, 1, 2}, "Device d1") },
	} {
		if plain, err := try(); err == nil {
			t.Errorf("Unseal of %s = %q, want an error", name, plain)
		}
	}
	other := openMemory(t)
	if plain, err := other.Unseal(sealed, "Device d1"); err == nil {
		t.Errorf("another store unsealed %q", plain)
	}
}

// TestVerifyNoticesIndexes breaks each table behind the store's back.
func TestVerifyNoticesIndexes(t *testing.T) {
	k := objectKey{tandem.KindAccount, "a1"}
	keys := map[string][]byte{
		"object":    appendObjectKey(nil, k),
		"owner":     appendOwnerKey(nil, k, "a1"),
		"reference": appendRefKey(nil, objectKey{tandem.KindGroup, "g1"}, k),
		"claim":     appendClaimKey(nil, claimName{"label", "label-a1.example.net"}),
		"change":    appendLogKey(nil, 5),
	}
	for name, key := range keys {
		s := openMemory(t)
		fill(t, s, 10)
		if err := s.db.Delete(key, nil); err != nil {
			t.Fatal(err)
		}
		if r, err := s.Verify(context.Background(), nil); !errors.Is(err, ErrCorrupt) || len(r.Faults) == 0 {
			t.Errorf("without the %s: %v, %v, want ErrCorrupt", name, err, r.Faults)
		}
	}
	extra := map[string][]byte{
		"owner":     appendOwnerKey(nil, k, "a2"),
		"reference": appendRefKey(nil, objectKey{tandem.KindGroup, "g2"}, k),
	}
	for name, key := range extra {
		s := openMemory(t)
		fill(t, s, 10)
		if err := s.db.Set(key, s.wrap(nil, key, nil), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Verify(context.Background(), nil); !errors.Is(err, ErrCorrupt) {
			t.Errorf("with a %s too many: %v, want ErrCorrupt", name, err)
		}
	}
}

func TestVerifyTellsProgress(t *testing.T) {
	s := openMemory(t)
	fill(t, s, 5000)
	var calls, last uint64
	if _, err := s.Verify(context.Background(), func(read uint64) { calls++; last = read }); err != nil || calls == 0 || last < progressStep {
		t.Errorf("%d calls of progress, the last with %d, %v", calls, last, err)
	}
}
