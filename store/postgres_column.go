package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/waybill/waybill/internal/job"
)

// column is an argument of a hot write: an array with a value for each job, in PostgreSQL's binary
// form (array_recv in its arrayfuncs.c: 20 bytes of header, then each value's length and bytes).
// pgx encodes a slice value by value through an interface, which showed in the profiles of api and
// worker, in time and in garbage.
type column struct {
	data  []byte
	n     uint32
	nulls bool
}

const columnHead = 20 // bytes: dimensions, whether there are NULLs, type of the values, length, lower bound

// newColumn makes a column of values of a type, with room for n short ones.
func newColumn(oid uint32, n int) *column {
	c := &column{data: make([]byte, columnHead, columnHead+20*n)}
	binary.BigEndian.PutUint32(c.data[8:], oid)
	return c
}

func (c *column) length(n int) {
	c.n++
	c.data = binary.BigEndian.AppendUint32(c.data, uint32(n))
}

func (c *column) null() {
	c.nulls = true
	c.length(-1)
}

func (c *column) id(v job.ID) {
	c.length(len(v))
	c.data = append(c.data, v[:]...)
}

func (c *column) text(v string) {
	c.length(len(v))
	c.data = append(c.data, v...)
}

func (c *column) textOrNull(v string) {
	if v == "" {
		c.null()
		return
	}
	c.text(v)
}

func (c *column) bytesOrNull(v []byte) {
	if len(v) == 0 {
		c.null()
		return
	}
	c.length(len(v))
	c.data = append(c.data, v...)
}

// int4 is for numbers that the ledger's own constraints keep small.
func (c *column) int4(v int) {
	c.length(4)
	c.data = binary.BigEndian.AppendUint32(c.data, uint32(int32(v)))
}

func (c *column) int8(v int64) {
	c.length(8)
	c.data = binary.BigEndian.AppendUint64(c.data, uint64(v))
}

func (c *column) microseconds(v time.Duration) { c.int8(v.Microseconds()) }

func (c *column) milliseconds(v time.Duration) { c.int8(v.Milliseconds()) }

// instant cuts to microseconds; a zero time is NULL.
func (c *column) instant(v time.Time) {
	if v.IsZero() {
		c.null()
		return
	}
	c.int8(v.UnixMicro() - pgEpoch)
}

func (c *column) flag(v bool) {
	c.length(1)
	if v {
		c.data = append(c.data, 1)
		return
	}
	c.data = append(c.data, 0)
}

// pgEpoch is PostgreSQL's, 2000-01-01, in Unix microseconds.
const pgEpoch = 946_684_800_000_000

// appendTo writes the whole array.
func (c *column) appendTo(b []byte) []byte {
	binary.BigEndian.PutUint32(c.data, 1)
	if c.nulls {
		c.data[7] = 1
	}
	binary.BigEndian.PutUint32(c.data[12:], c.n)
	binary.BigEndian.PutUint32(c.data[16:], 1)
	return append(b, c.data...)
}

// takeColumns lets a connection take columns where it takes arrays.
func takeColumns(m *pgtype.Map) {
	for _, oid := range []uint32{pgtype.UUIDArrayOID, pgtype.TextArrayOID, pgtype.Int4ArrayOID, pgtype.Int8ArrayOID,
		pgtype.TimestamptzArrayOID,
		pgtype.BoolArrayOID, pgtype.ByteaArrayOID} {
		if t, ok := m.TypeForOID(oid); ok {
			m.RegisterType(&pgtype.Type{Name: t.Name, OID: oid, Codec: columnCodec{t.Codec}})
		}
	}
}

type columnCodec struct{ pgtype.Codec }

// PlanEncode implements pgtype.Codec.
func (c columnCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if _, ok := value.(*column); ok && format == pgtype.BinaryFormatCode {
		return columnPlan{}
	}
	return c.Codec.PlanEncode(m, oid, format, value)
}

type columnPlan struct{}

// Encode implements pgtype.EncodePlan.
func (columnPlan) Encode(value any, b []byte) ([]byte, error) {
	return value.(*column).appendTo(b), nil
}

// row is a row of an answer, as pgx asks for it: numbers, times and ids in binary form, texts as
// they are; nil for NULL. It is good until the next.
type row [][]byte

func (r row) id(i int) job.ID    { return job.ID(r[i]) }
func (r row) text(i int) string  { return string(r[i]) }
func (r row) bytes(i int) []byte { return bytes.Clone(r[i]) }
func (r row) int4(i int) int     { return int(int32(binary.BigEndian.Uint32(r[i]))) }
func (r row) int8(i int) int64   { return int64(binary.BigEndian.Uint64(r[i])) }

func (r row) milliseconds(i int) time.Duration { return milliseconds(r.int8(i)) }

// instant is zero for NULL.
func (r row) instant(i int) time.Time {
	if r[i] == nil {
		return time.Time{}
	}
	return time.UnixMicro(r.int8(i) + pgEpoch).UTC()
}

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// query runs a statement and hands each row of its answer to take.
func query(ctx context.Context, db querier, sql string, args []any, take func(row) error) error {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := take(row(rows.RawValues())); err != nil {
			return err
		}
	}
	return rows.Err()
}

// hotQuery is query over the connections of the hot writes, repeated where nothing was done. begin
// is called before each try: rows of one that failed do not count.
func (p *postgresEngine) hotQuery(
	ctx context.Context,
	sql string,
	args []any,
	begin func(),
	take func(row) error,
) error {
	return repeat(p.repeatable, func() error {
		begin()
		return query(ctx, p.hot, sql, args, take)
	})
}
