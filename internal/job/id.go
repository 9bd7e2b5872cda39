package job

import (
	"crypto/rand"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"sync"
	"time"
)

// ID is a UUID version 7 (RFC 9562, section 5.7): it sorts by the time it was made.
type ID [16]byte

var clockSeq struct {
	sync.Mutex
	last uint64 // milliseconds << 12 | sequence
}

// NewID makes an ID that is greater than every ID this process made before it.
func NewID() ID {
	var id ID
	_, _ = rand.Read(id[8:]) // never fails: crypto/rand crashes the process instead
	now := uint64(time.Now().UnixNano())
	// RFC 9562, method 3: the 12 bits after the milliseconds hold a fraction of one.
	stamp := now/1e6<<12 | now%1e6*4096/1e6
	clockSeq.Lock()
	stamp = max(stamp, clockSeq.last+1)
	clockSeq.last = stamp
	clockSeq.Unlock()
	binary.BigEndian.PutUint64(id[:], stamp>>12<<16|stamp&0xfff)
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// FirstIDAt is the smallest ID that can be made at t: it turns a time filter into a range of ids.
func FirstIDAt(t time.Time) ID {
	var id ID
	ms := max(t.UnixMilli(), 0)
	binary.BigEndian.PutUint64(id[:], uint64(ms)<<16)
	id[6], id[8] = 0x70, 0x80
	return id
}

// ParseID reads the canonical form: 36 characters, lower-case hex. Other spellings, versions and the nil UUID are refused.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, fmt.Errorf("not a UUID: %d characters", len(s))
	}
	raw := s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	if _, err := hex.Decode(id[:], []byte(raw)); err != nil || id.String() != s {
		return ID{}, fmt.Errorf("not a UUID in lower-case hex")
	}
	if id[6]>>4 != 7 || id[8]>>6 != 2 {
		return ID{}, fmt.Errorf("not a UUID of version 7")
	}
	return id, nil
}

// IsZero reports whether id was never set.
func (id ID) IsZero() bool { return id == ID{} }

// Time is when the id was made, to the millisecond.
func (id ID) Time() time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[:8]) >> 16)).UTC()
}

func (id ID) String() string {
	var b [36]byte
	hex.Encode(b[:8], id[:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:], id[10:])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// MarshalText writes the canonical form.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseID(string(b))
	return err
}

// Value writes an ID to a database as text, which a uuid column takes too; the zero ID is NULL.
func (id ID) Value() (driver.Value, error) {
	if id.IsZero() {
		return nil, nil
	}
	return id.String(), nil
}

// Scan reads what a uuid or text column holds; NULL is the zero ID.
func (id *ID) Scan(src any) (err error) {
	switch v := src.(type) {
	case nil:
		*id = ID{}
	case string:
		*id, err = ParseID(v)
	case []byte:
		if len(v) == 16 {
			copy(id[:], v)
			return nil
		}
		*id, err = ParseID(string(v))
	case [16]byte:
		*id = v
	default:
		err = fmt.Errorf("cannot read an id from %T", src)
	}
	return err
}
