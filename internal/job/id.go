package job

import (
	"crypto/rand"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ID is a UUID version 7 (RFC 9562, section 5.7): it sorts by the time it was made.
type ID [16]byte

var source struct {
	sync.Mutex
	last   uint64    // milliseconds << 12 | sequence
	random [512]byte // drawn together: to ask for 8 bytes costs half as much as to ask for all of them
	unused int       // bytes at the end of random that no ID has
}

// idClock answers the time for new IDs; nil: the process's own clock does.
var idClock atomic.Pointer[func() time.Time]

// SetIDClock lets the IDs of this process carry the times of another clock. Processes give the
// ledger's, so that IDs that were made in different places sort by the time they were made.
func SetIDClock(now func() time.Time) { idClock.Store(&now) }

func idTime() time.Time {
	if now := idClock.Load(); now != nil {
		return (*now)()
	}
	return time.Now()
}

// NewID makes an ID that is greater than every ID this process made before it.
func NewID() ID {
	var id ID
	now := uint64(idTime().UnixNano())
	// RFC 9562, method 3: the 12 bits after the milliseconds hold a fraction of one.
	stamp := now/1e6<<12 | now%1e6*4096/1e6
	source.Lock()
	if source.unused == 0 {
		_, _ = rand.Read(source.random[:]) // never fails: crypto/rand crashes the process instead
		source.unused = len(source.random)
	}
	copy(id[8:], source.random[len(source.random)-source.unused:])
	source.unused -= len(id[8:])
	stamp = max(stamp, source.last+1)
	source.last = stamp
	source.Unlock()
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

// places are where the bytes of an ID begin in its canonical form.
var places = [16]int{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34}

// ParseID reads the canonical form: 36 characters, lower-case hex. Other spellings, versions and
// the nil UUID are refused.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, fmt.Errorf("not a UUID: %d characters", len(s))
	}
	for i, at := range places {
		high, low := nibble(s[at]), nibble(s[at+1])
		if high > 0xf || low > 0xf {
			return ID{}, errors.New("not a UUID in lower-case hex")
		}
		id[i] = high<<4 | low
	}
	if id[6]>>4 != 7 || id[8]>>6 != 2 {
		return ID{}, errors.New("not a UUID of version 7")
	}
	return id, nil
}

// nibble is the value of a hex digit; 0xff for what is none.
func nibble(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// IsZero reports whether id was never set.
func (id ID) IsZero() bool { return id == ID{} }

// Time is when the id was made, to the millisecond.
func (id ID) Time() time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[:8]) >> 16)).UTC()
}

func (id ID) String() string {
	var b [36]byte
	return string(id.append(b[:0]))
}

func (id ID) append(b []byte) []byte {
	b = append(hex.AppendEncode(b, id[:4]), '-')
	b = append(hex.AppendEncode(b, id[4:6]), '-')
	b = append(hex.AppendEncode(b, id[6:8]), '-')
	b = append(hex.AppendEncode(b, id[8:10]), '-')
	return hex.AppendEncode(b, id[10:])
}

// AppendText appends the canonical form. It never fails.
func (id ID) AppendText(b []byte) ([]byte, error) { return id.append(b), nil }

// MarshalText writes the canonical form.
func (id ID) MarshalText() ([]byte, error) { return id.append(nil), nil }

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
