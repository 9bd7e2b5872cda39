package api

import (
	"bytes"
	"hash/maphash"
)

// keySet finds a key among many. It is a hash table of places in the list of keys, without a
// pointer and without a copy of a key: a body may have a hundred thousand keys, and a map of
// strings takes ten times as long. The zero set is ready.
type keySet struct {
	places []int32 // a power of two, at most half full; 0: free, else the key's place and 1
	known  int     // keys of the list that are in it
}

// keySeed differs from process to process, so that a body cannot be made of keys that collide.
var keySeed = maphash.MakeSeed()

// has tells whether key is in list, all of which is in the set afterwards. The list may have grown
// since the last time.
func (k *keySet) has(list [][]byte, key []byte) bool {
	if 2*len(list) >= len(k.places) {
		k.places, k.known = make([]int32, max(2*len(k.places), 8*fewKeys)), 0
	}
	for ; k.known < len(list); k.known++ {
		if i, found := k.find(list, list[k.known]); !found {
			k.places[i] = int32(k.known) + 1
		}
	}
	_, found := k.find(list, key)
	return found
}

// find answers where key is in the table, or where it would be.
func (k *keySet) find(list [][]byte, key []byte) (i uint64, found bool) {
	mask := uint64(len(k.places) - 1)
	for i = maphash.Bytes(keySeed, key) & mask; k.places[i] != 0; i = (i + 1) & mask {
		if bytes.Equal(list[k.places[i]-1], key) {
			return i, true
		}
	}
	return i, false
}
