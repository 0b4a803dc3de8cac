package directory

// packNumber turns an E.164 number (+ and at most 15 digits) into an integer that keeps leading
// zeros: the digits as a decimal number, then their count in four bits. Zero is no number.
func packNumber(s string) uint64 {
	if len(s) < 2 || len(s) > 16 || s[0] != '+' {
		return 0
	}
	var n uint64
	for i := 1; i < len(s); i++ {
		c := s[i] - '0'
		if c > 9 {
			return 0
		}
		n = n*10 + uint64(c)
	}
	return n<<4 | uint64(len(s)-1)
}

// unpackNumber is the inverse of packNumber.
func unpackNumber(p uint64) string {
	var b [16]byte
	digits := int(p & 15)
	for i, n := digits, p>>4; i > 0; i, n = i-1, n/10 {
		b[i] = byte('0' + n%10)
	}
	b[0] = '+'
	return string(b[:digits+1])
}

func packNumbers(numbers []string) []uint64 {
	if len(numbers) == 0 {
		return nil
	}
	packed := make([]uint64, 0, len(numbers))
	for _, s := range numbers {
		if n := packNumber(s); n != 0 {
			packed = append(packed, n)
		}
	}
	return packed
}

func unpackNumbers(packed []uint64) []string {
	numbers := make([]string, len(packed))
	for i, p := range packed {
		numbers[i] = unpackNumber(p)
	}
	return numbers
}

// spread makes a hash of a packed number (the finaliser of SplitMix64).
func spread(n uint64) uint64 {
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}
