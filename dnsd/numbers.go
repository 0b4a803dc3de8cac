package dnsd

import (
	"sync/atomic"

	"github.com/hashicorp/go-immutable-radix/v2"

	"tandem/internal/tandem"
)

// numbers is who has which E.164 number: accounts' own, users' and ranges. Numbers are rows without a
// pointer, as accounts are; ranges are fewer. Any number of goroutines may read while one writes.
type numbers struct {
	held   *table // digits → tail: id of the account that lists the number
	users  *table // digits → tail: id of the account whose user lists it
	below  *table // digits → a, for the writer: how many digits lead on from there
	ranges atomic.Pointer[iradix.Tree[*numberRange]]
}

// numberRange is a NumberRange as it is served.
type numberRange struct {
	account     string
	least, most int // digits
	services    []tandem.ENUMService
}

// digits is an E.164 number or the beginning of one, packed: its length, then four bits a digit.
type digits [8]byte

const mostDigits = 15

// packDigits returns text's digits; ok is false when it is something else or too long.
func packDigits(text string) (d digits, ok bool) {
	if len(text) > mostDigits {
		return d, false
	}
	d[0] = byte(len(text)) << 4
	for i := range len(text) {
		c := text[i] - '0'
		if c > 9 {
			return d, false
		}
		d[(i+1)/2] |= c << (4 * (i % 2))
	}
	return d, true
}

func (d digits) size() int { return int(d[0] >> 4) }

// shorter returns d without its last digit, of which it must have one.
func (d digits) shorter() digits {
	i := d.size() - 1
	d[(i+1)/2] &^= 15 << (4 * (i % 2))
	d[0] = d[0]&15 | byte(i)<<4
	return d
}

func newNumbers() *numbers {
	n := &numbers{held: newTable(), users: newTable(), below: newTable()}
	n.ranges.Store(iradix.New[*numberRange]())
	return n
}

// owner returns the id of the account that has a number as its own or its users', "" for none.
func (n *numbers) owner(d digits) string {
	for _, t := range []*table{n.held, n.users} {
		if _, account, ok := t.getTail(d[:]); ok {
			return string(account)
		}
	}
	return ""
}

// inRange returns the range with the longest prefix of a number, nil for none.
func (n *numbers) inRange(number string) *numberRange {
	_, r, _ := n.ranges.Load().Root().LongestPrefix([]byte(number))
	return r
}

// leadsOn reports whether d is the beginning of a longer number, or of a range's prefix.
func (n *numbers) leadsOn(d digits) bool { return n.below.has(d[:]) }

// put gives a number in t, which is held or users, to an account, or with "" to nobody.
func (n *numbers) put(t *table, number, account string) {
	d, ok := packDigits(number)
	if !ok {
		return
	}
	before := n.stands(d)
	if _, now, ok := t.getTail(d[:]); ok == (account != "") && string(now) == account {
		return
	}
	if account == "" {
		t.delete(d[:])
	} else {
		t.put(d[:], []byte(account), entry{})
	}
	n.link(d, before)
}

// putRange puts or, with r nil, removes the range with a prefix.
func (n *numbers) putRange(prefix string, r *numberRange) {
	d, ok := packDigits(prefix)
	if !ok {
		return
	}
	before, tree := n.stands(d), n.ranges.Load()
	if r == nil {
		tree, _, _ = tree.Delete([]byte(prefix))
	} else {
		tree, _, _ = tree.Insert([]byte(prefix), r)
	}
	n.ranges.Store(tree)
	n.link(d, before)
}

// stands reports whether d is a number, or a range's prefix, whatever is below it.
func (n *numbers) stands(d digits) bool {
	if n.held.has(d[:]) || n.users.has(d[:]) {
		return true
	}
	_, ok := n.ranges.Load().Get([]byte(d.text()))
	return ok
}

// text returns the digits as such.
func (d digits) text() string {
	b := make([]byte, d.size())
	for i := range b {
		b[i] = '0' + d[(i+1)/2]>>(4*(i%2))&15
	}
	return string(b)
}

// link tells the names above d that something stands there now, or no longer; before is whether it
// did. It goes up only as far as names come or go by that.
func (n *numbers) link(d digits, before bool) {
	now := n.stands(d)
	if now == before || n.below.has(d[:]) {
		return
	}
	for d.size() > 0 {
		d = d.shorter()
		if now {
			before = n.below.has(d[:])
			n.below.bump(d[:], 1)
		} else {
			n.below.bump(d[:], -1)
			before = n.below.has(d[:])
		}
		if before || n.stands(d) {
			return
		}
	}
}

// numberOwner is who lists numbers: an account or a user.
type numberOwner struct {
	table *table
	key   string // in writer.listed
}

// numbersPerRow bounds the numbers that one row of writer.listed has.
const numbersPerRow = 4096

// list makes numbers, with +, those that an owner lists for an account. It returns whether it lists
// any now or did before. It costs as many steps as both lists are long.
func (w *writer) list(o numberOwner, account string, listed []string) bool {
	old := w.listedBy(o)
	next := make(map[digits]bool, len(listed))
	rows := []byte(nil)
	for _, number := range listed {
		if d, ok := packDigits(number[min(1, len(number)):]); ok && !next[d] {
			next[d] = true
			rows = append(rows, d[:]...)
			w.numbers.put(o.table, d.text(), account)
		}
	}
	for ; len(old) >= 8; old = old[8:] {
		if d := digits(old[:8]); !next[d] {
			w.numbers.put(o.table, d.text(), "")
		}
	}
	for i := 0; ; i++ {
		key := append([]byte(o.key), 0, byte(i>>8), byte(i))
		if len(rows) == 0 {
			if !w.listed.has(key) {
				return len(next) > 0 || i > 0
			}
			w.listed.delete(key)
			continue
		}
		n := min(len(rows), 8*numbersPerRow)
		w.listed.put(key, rows[:n], entry{})
		rows = rows[n:]
	}
}

// listedBy returns the numbers that an owner lists, packed.
func (w *writer) listedBy(o numberOwner) []byte {
	var all []byte
	for i := 0; ; i++ {
		_, row, ok := w.listed.getTail(append([]byte(o.key), 0, byte(i>>8), byte(i)))
		if !ok {
			return all
		}
		all = append(all, row...)
	}
}

// applyAccountNumbers takes an account's numbers, none with a nil.
func (w *writer) applyAccountNumbers(id string, a *tandem.Account, revision uint32) {
	var listed []string
	if a != nil {
		listed = a.Numbers
	}
	if w.list(numberOwner{w.numbers.held, "a" + id}, id, listed) || w.ranged[id] > 0 {
		raise(&w.numbersChanged, revision)
	}
}

// applyUser takes a user's numbers, none with u nil.
func (w *writer) applyUser(id string, u *tandem.User, revision uint32) {
	var account string
	var listed []string
	if u != nil {
		account, listed = u.Account, u.Numbers
	}
	if w.list(numberOwner{w.numbers.users, "u" + id}, account, listed) {
		raise(&w.numbersChanged, revision)
	}
}

// applyRange puts or, with r nil, removes a NumberRange.
func (w *writer) applyRange(id string, r *tandem.NumberRange, revision uint32) {
	raise(&w.numbersChanged, revision)
	if old := w.rangeOf[id]; old != nil {
		w.numbers.putRange(old.Prefix[1:], nil)
		w.countRange(old.Account, -1)
		delete(w.rangeOf, id)
	}
	if r == nil || len(r.Prefix) < 2 {
		return
	}
	served := &numberRange{account: r.Account, least: r.Least, most: r.Most, services: r.Service}
	if served.least == 0 {
		served.least = len(r.Prefix) - 1
	}
	if served.most == 0 {
		served.most = mostDigits
	}
	w.numbers.putRange(r.Prefix[1:], served)
	w.countRange(r.Account, 1)
	w.rangeOf[id] = r
}

// countRange counts a range of an account more or less.
func (w *writer) countRange(account string, by int) {
	if w.ranged[account] += by; w.ranged[account] == 0 {
		delete(w.ranged, account)
	}
}
