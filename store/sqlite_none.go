//go:build nosqlite

package store

import (
	"context"
	"errors"
)

// openSQLite refuses: the images' programs are built for PostgreSQL alone, which makes them a tenth
// smaller.
func openSQLite(context.Context, string) (engine, error) {
	return nil, errors.New("this program was built without SQLite (tag nosqlite), as the images are: use PostgreSQL")
}
