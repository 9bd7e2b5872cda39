package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/migrate"
)

// Migration is one step of the schema's history.
type Migration struct {
	Name     string
	Applied  bool
	Newer    bool // applied by another release; this program does not know it
	Additive bool // programs that do not know it can run beside it
	Edited   bool // the file that was applied is not the one that this program has

	version  string
	recorded bool // its checksum is
	file     migrate.Migration
}

// history is oldest first: what this program knows, then what only the database knows.
type history []Migration

// Migrations lists the history.
func (s *Store) Migrations(ctx context.Context) ([]Migration, error) {
	known, files, err := readMigrations(s.engine.dialect())
	if err != nil {
		return nil, err
	}
	h, err := readHistory(ctx, s.db, known, files)
	return h, s.wrap("read applied migrations", err)
}

// Check refuses a database whose schema this program cannot use: one that lacks migrations, that
// was made with another version of one, or that has one of a newer release which is not marked as
// additive.
func (s *Store) Check(ctx context.Context) error {
	list, err := s.Migrations(ctx)
	if err != nil {
		return err
	}
	h := history(list)
	if err := h.usable(); err != nil {
		return err
	}
	if pending := h.names(func(m Migration) bool { return !m.Applied }); pending != "" {
		return fmt.Errorf("%w (%s)", ErrPending, pending)
	}
	if newer := h.names(func(m Migration) bool { return m.Newer }); newer != "" {
		s.log.WarnContext(
			ctx,
			"the database's schema is of a newer release, which this one can run beside",
			"migrations",
			newer,
		)
	}
	return nil
}

func (m *migrator) history(ctx context.Context) (history, error) {
	h, err := readHistory(ctx, m.db, m.known, m.files)
	if err != nil {
		return nil, fmt.Errorf("read applied migrations: %w", err)
	}
	return h, nil
}

// readHistory names the columns that it reads, since another release may have added some.
func readHistory(
	ctx context.Context,
	db bun.IDB,
	known migrate.MigrationSlice,
	files map[string]migrationFile,
) (history, error) {
	var applied []string
	err := db.NewSelect().Table(migrationTable).Column("name").Scan(ctx, &applied)
	if err != nil && !missingTable(err) { // a database that was never migrated has no history
		return nil, err
	}
	var details []migrationDetail
	err = db.NewSelect().Model(&details).Column("name", "checksum", "additive").Scan(ctx)
	if err != nil && !missingTable(err) { // nor details, where an older release made it
		return nil, err
	}
	detail := map[string]migrationDetail{}
	for _, d := range details {
		detail[d.Name] = d
	}
	return compare(known, files, applied, detail), nil
}

func compare(
	known migrate.MigrationSlice,
	files map[string]migrationFile,
	applied []string,
	detail map[string]migrationDetail,
) (h history) {
	done := map[string]bool{}
	for _, name := range applied {
		done[name] = true
	}
	for _, k := range known {
		d, recorded := detail[k.Name]
		m := Migration{
			Name:     k.String(),
			Applied:  done[k.Name],
			Additive: files[k.Name].additive,
			version:  k.Name,
			recorded: recorded,
			file:     k,
		}
		m.Edited = m.Applied && recorded && d.Checksum != files[k.Name].checksum
		h = append(h, m)
		delete(done, k.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(done)) {
		h = append(h, Migration{Name: name, Applied: true, Newer: true, Additive: detail[name].Additive, version: name})
	}
	return h
}

// names lists those that match, separated by commas.
func (h history) names(match func(Migration) bool) string {
	var names []string
	for _, m := range h {
		if match(m) {
			names = append(names, m.Name)
		}
	}
	return strings.Join(names, ", ")
}

// usable refuses a schema that statements of this program may not fit.
func (h history) usable() error {
	if edited := h.names(func(m Migration) bool { return m.Edited }); edited != "" {
		return fmt.Errorf("%w (%s)", ErrEdited, edited)
	}
	if unknown := h.names(func(m Migration) bool { return m.Newer && !m.Additive }); unknown != "" {
		return fmt.Errorf("%w (%s)", ErrUnknown, unknown)
	}
	return nil
}

// mayGoUp refuses to apply anything to a schema that this program does not fully know.
func (h history) mayGoUp() error {
	if err := h.usable(); err != nil {
		return err
	}
	newer := h.names(func(m Migration) bool { return m.Newer })
	if pending := h.names(func(m Migration) bool { return !m.Applied }); newer != "" && pending != "" {
		return fmt.Errorf("%w (%s), and lacks others (%s): use the newer release", ErrUnknown, newer, pending)
	}
	return nil
}

func (h history) pending() (files []migrate.Migration) {
	for _, m := range h {
		if !m.Applied {
			files = append(files, m.file)
		}
	}
	return files
}

// mayGoDown answers the newest migration that is applied, nil where there is none.
func (h history) mayGoDown() (*migrate.Migration, error) {
	if edited := h.names(func(m Migration) bool { return m.Edited }); edited != "" {
		return nil, fmt.Errorf("nothing was undone: %w (%s)", ErrEdited, edited)
	}
	if newer := h.names(func(m Migration) bool { return m.Newer }); newer != "" {
		return nil, fmt.Errorf(
			"nothing was undone: %w (%s). The release that applied them can undo them",
			ErrUnknown,
			newer,
		)
	}
	for _, m := range slices.Backward(h) {
		if m.Applied {
			return &m.file, nil
		}
	}
	return nil, nil
}
