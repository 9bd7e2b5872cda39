package store

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/migrate"
)

//go:embed migrations
var migrationsDir embed.FS

const (
	migrationTable = "bun_migrations"
	detailTable    = "migration_details"
	// additiveMark is a line of a migration that programs of the release before it can run beside:
	// it adds, and changes nothing that they use.
	additiveMark = "-- waybill: additive"
)

// migrationDetail is what bun's own table does not hold of an applied migration.
type migrationDetail struct {
	bun.BaseModel `bun:"table:migration_details"`

	Name     string `bun:"name,pk"`
	Checksum string `bun:"checksum,notnull"` // of the file that was applied
	Additive bool   `bun:"additive,notnull"` // a program that does not know it can still run
}

// sqlFile is the name of a file of SQL.
type sqlFile string

// transactional says whether bun runs the file in a transaction.
func (f sqlFile) transactional() bool {
	return strings.HasSuffix(string(f), ".tx.up.sql") || strings.HasSuffix(string(f), ".tx.down.sql")
}

type migrationFile struct {
	up, down sqlFile
	checksum string
	additive bool
	tables   []string // that it makes
}

// readMigrations reads what this program knows, oldest first, and the files by their versions.
func readMigrations(dialect string) (migrate.MigrationSlice, map[string]migrationFile, error) {
	dir, err := fs.Sub(migrationsDir, path.Join("migrations", dialect))
	if err != nil {
		return nil, nil, fmt.Errorf("find migrations: %w", err)
	}
	known := migrate.NewMigrations()
	if err := known.Discover(dir); err != nil {
		return nil, nil, fmt.Errorf("read migrations: %w", err)
	}
	names, err := fs.Glob(dir, "*.sql")
	if err != nil {
		return nil, nil, fmt.Errorf("list migrations: %w", err)
	}
	files := map[string]migrationFile{}
	for _, name := range names {
		version, _, _ := strings.Cut(name, "_")
		f := files[version]
		if strings.HasSuffix(name, ".up.sql") {
			text, err := fs.ReadFile(dir, name)
			if err != nil {
				return nil, nil, fmt.Errorf("read the migration %s: %w", name, err)
			}
			f.up, f.checksum, f.additive = sqlFile(name), checksum(string(text)), isAdditive(string(text))
			f.tables = tablesMade(string(text))
		} else {
			f.down = sqlFile(name)
		}
		files[version] = f
	}
	return known.Sorted(), files, nil
}

// checksum leaves out what Git may change in a checkout, the ends of lines.
func checksum(text string) string {
	sum := sha256.Sum256([]byte(strings.ReplaceAll(text, "\r\n", "\n")))
	return hex.EncodeToString(sum[:])
}

func isAdditive(text string) bool {
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == additiveMark {
			return true
		}
	}
	return false
}

// tableMade finds the tables that migrations make: others in the same schema are not Waybill's, and
// are not looked at.
var tableMade = regexp.MustCompile(
	`(?im)^\s*CREATE\s+(?:UNLOGGED\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?"?([a-z0-9_]+)"?|^\s*ALTER\s+TABLE\s+\S+\s+RENAME\s+TO\s+"?([a-z0-9_]+)"?`,
)

func tablesMade(text string) (names []string) {
	for _, match := range tableMade.FindAllStringSubmatch(text, -1) {
		names = append(names, match[1]+match[2])
	}
	return names
}
