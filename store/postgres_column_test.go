package store

import (
	"bytes"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/waybill/waybill/internal/job"
)

// What pgx makes of a slice is what a column must be, byte for byte.
func TestColumnsAreWhatPgxMakesOfSlices(t *testing.T) {
	t.Parallel()
	id, other, word := job.NewID(), job.NewID(), "wörd"
	// Before PostgreSQL's epoch, with what is cut off.
	at := time.Date(1999, 12, 31, 23, 59, 59, 999_999_999, time.FixedZone("", 3600))
	for name, c := range map[string]struct {
		array uint32
		of    uint32
		fill  func(*column)
		slice any
	}{
		"none": {pgtype.TextArrayOID, pgtype.TextOID, func(*column) {}, []string{}},
		"ids": {pgtype.UUIDArrayOID, pgtype.UUIDOID, func(c *column) { c.id(id); c.id(other) },
			[]pgtype.UUID{{Bytes: id, Valid: true}, {Bytes: other, Valid: true}}},
		"texts": {pgtype.TextArrayOID, pgtype.TextOID,
			func(c *column) { c.text(""); c.textOrNull(""); c.textOrNull(word); c.null() },
			[]*string{new(string), nil, &word, nil}},
		"bytes": {pgtype.ByteaArrayOID, pgtype.ByteaOID,
			func(c *column) { c.bytesOrNull(nil); c.bytesOrNull([]byte{0, 255}) }, [][]byte{nil, {0, 255}}},
		"int4": {pgtype.Int4ArrayOID, pgtype.Int4OID, func(c *column) { c.int4(-1); c.int4(1 << 30) },
			[]int32{-1, 1 << 30}},
		"int8": {pgtype.Int8ArrayOID, pgtype.Int8OID, func(c *column) { c.int8(-1); c.milliseconds(time.Hour) },
			[]int64{-1, 3_600_000}},
		"flags": {pgtype.BoolArrayOID, pgtype.BoolOID, func(c *column) { c.flag(true); c.flag(false) },
			[]bool{true, false}},
		"times": {pgtype.TimestamptzArrayOID, pgtype.TimestamptzOID,
			func(c *column) { c.instant(at); c.instant(time.Time{}); c.instant(at.AddDate(50, 0, 0)) },
			[]pgtype.Timestamptz{{Time: at, Valid: true}, {}, {Time: at.AddDate(50, 0, 0), Valid: true}}},
	} {
		m := pgtype.NewMap()
		want, err := m.Encode(c.array, pgtype.BinaryFormatCode, c.slice, nil)
		if err != nil {
			t.Fatal(name, err)
		}
		takeColumns(m)
		col := newColumn(c.of, 0)
		c.fill(col)
		got, err := m.Encode(c.array, pgtype.BinaryFormatCode, col, []byte("before"))
		if err != nil || !bytes.Equal(got, append([]byte("before"), want...)) {
			t.Errorf("%s: %x, %v; pgx makes %x", name, got, err, want)
		}
		if again, err := m.Encode(c.array, pgtype.BinaryFormatCode, c.slice, nil); err != nil ||
			!bytes.Equal(again, want) {
			t.Errorf("%s: a slice becomes %x, %v beside columns", name, again, err)
		}
	}
}
