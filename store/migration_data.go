package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/uptrace/bun"
)

// DataLossError is why a migration was not undone: it would take rows or values with it.
type DataLossError struct{ Lost []Loss }

// Loss is what would be gone.
type Loss struct {
	Table  string
	Column string // empty: rows of the table
	Rows   int64  // rows, or rows in which the column holds a value
}

func (e *DataLossError) Error() string {
	var parts []string
	for _, l := range e.Lost {
		if l.Column != "" {
			parts = append(parts, fmt.Sprintf("the values of %s.%s in %d rows", l.Table, l.Column, l.Rows))
			continue
		}
		parts = append(parts, fmt.Sprintf("%d rows of %s", l.Rows, l.Table))
	}
	if len(parts) == 0 {
		return "it may destroy data"
	}
	return "it would destroy data: " + strings.Join(parts, ", ")
}

// contents counts, for each table and each column, the rows that hold a value. The name of the
// column is empty for the rows themselves.
type contents map[[2]string]int64

// contents reads every table that a migration made. No other session can write to them until the
// transaction ends.
func (m *migrator) contents(ctx context.Context, db bun.IConn) (contents, error) {
	columns, err := m.columns(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	maps.DeleteFunc(columns, func(table string, _ []string) bool { return !m.ours(table) })
	tables := slices.Sorted(maps.Keys(columns))
	if err := m.freeze(ctx, db, tables); err != nil {
		return nil, fmt.Errorf("lock the tables: %w", err)
	}
	all := contents{}
	for _, table := range tables {
		if err := m.count(ctx, db, table, columns[table], all); err != nil {
			return nil, fmt.Errorf("count the rows of %s: %w", table, err)
		}
	}
	return all, nil
}

// ours reports whether a migration made the table.
func (m *migrator) ours(table string) bool {
	for _, f := range m.files {
		if slices.Contains(f.tables, table) {
			return true
		}
	}
	return false
}

func (m *migrator) count(ctx context.Context, db bun.IConn, table string, columns []string, into contents) error {
	q := m.db.NewSelect().Conn(db).TableExpr("?", bun.Ident(table)).ColumnExpr("count(*)")
	counts := make([]int64, len(columns)+1)
	dest := []any{&counts[0]}
	for i, column := range columns {
		q.ColumnExpr("count(?)", bun.Ident(column))
		dest = append(dest, &counts[i+1])
	}
	if err := q.Scan(ctx, dest...); err != nil {
		return err
	}
	into[[2]string{table, ""}] = counts[0]
	for i, column := range columns {
		into[[2]string{table, column}] = counts[i+1]
	}
	return nil
}

// without answers what is not there any more. Of a table that lost rows, its columns are not named.
func (c contents) without(after contents) (lost []Loss) {
	for at, n := range c {
		table, column := at[0], at[1]
		rows := [2]string{table, ""}
		switch {
		case n <= after[at]:
		case column != "" && after[rows] < c[rows]:
		default:
			lost = append(lost, Loss{Table: table, Column: column, Rows: n - after[at]})
		}
	}
	slices.SortFunc(lost, func(a, b Loss) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Column, b.Column))
	})
	return lost
}

// scanColumns reads pairs of a table and a column.
func scanColumns(rows *sql.Rows, err error) (map[string][]string, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns := map[string][]string{}
	for rows.Next() {
		var table, column string
		if err := rows.Scan(&table, &column); err != nil {
			return nil, err
		}
		columns[table] = append(columns[table], column)
	}
	return columns, rows.Err()
}
