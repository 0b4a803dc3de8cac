package zonefile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

const locRule = "RFC 1876 section 3"

// location is LOC's latitude, longitude, altitude, size and precisions.
var location = field{parse: parseLocation, print: printLocation}

func parseLocation(w *words) error {
	latitude, err := w.angle("N", "S", 90)
	if err != nil {
		return err
	}
	longitude, err := w.angle("E", "W", 180)
	if err != nil {
		return err
	}
	altitude, err := w.metres(-10000000, math.MaxUint32-10000000)
	if err != nil {
		return err
	}
	sizes := [3]byte{0x12, 0x16, 0x13} // 1 m, 10,000 m, 10 m
	for i := range sizes {
		if len(w.tokens) == 0 {
			break
		}
		cm, err := w.metres(0, 9000000000)
		if err != nil {
			return err
		}
		sizes[i] = power(cm)
	}
	w.out = append(append(w.out, 0), sizes[:]...)
	for _, v := range [...]uint32{latitude, longitude, uint32(altitude + 10000000)} {
		w.out = binary.BigEndian.AppendUint32(w.out, v)
	}
	return nil
}

// angle reads degrees [minutes [seconds]] and a direction, as thousandths of a second from 2^31.
func (w *words) angle(plus, minus string, most uint64) (uint32, error) {
	var parts [3]float64
	for i := 0; ; i++ {
		word, err := w.word()
		if err != nil {
			return 0, err
		}
		direction := strings.ToUpper(word)
		if i > 0 && (direction == plus || direction == minus) {
			thousandths := (parts[0]*3600+parts[1]*60)*1000 + math.Round(parts[2]*1000)
			if thousandths > float64(most*3600*1000) {
				return 0, wrong(locRule, "over %d degrees", most)
			}
			if direction == minus {
				thousandths = -thousandths
			}
			return uint32(1<<31 + int64(thousandths)), nil
		}
		if i > 2 {
			return 0, wrong(locRule, "%q is neither %s nor %s", clip([]byte(word)), plus, minus)
		}
		bound := [...]float64{float64(most) + 1, 60, 60}[i]
		parts[i], err = decimal(word, i == 2)
		if err != nil || parts[i] >= bound {
			return 0, wrong(locRule, "%q is no degrees, minutes or seconds", clip([]byte(word)))
		}
	}
}

// decimal reads a number without sign or exponent, with a fraction of up to three digits where one is
// allowed.
func decimal(word string, fraction bool) (float64, error) {
	whole, part, dotted := strings.Cut(word, ".")
	if strings.Trim(whole+part, "0123456789") != "" || whole == "" || dotted && (!fraction || len(part) > 3) || len(whole) > 12 {
		return 0, errors.New("no number")
	}
	return strconv.ParseFloat(word, 64)
}

// metres reads metres with up to two decimals, as centimetres between bounds.
func (w *words) metres(least, most int64) (int64, error) {
	word, err := w.word()
	if err != nil {
		return 0, err
	}
	number := strings.TrimSuffix(strings.TrimSuffix(word, "m"), "M")
	plain, negative := strings.CutPrefix(number, "-")
	whole, part, _ := strings.Cut(plain, ".")
	if plain == "" || len(part) > 2 || len(whole) > 10 || strings.Trim(whole+part, "0123456789") != "" || whole == "" {
		return 0, wrong(locRule, "%q is no number of metres with two decimals", clip([]byte(word)))
	}
	cm, _ := strconv.ParseInt(whole+(part + "00")[:2], 10, 64)
	if negative {
		cm = -cm
	}
	if cm < least || cm > most {
		return 0, wrong(locRule, "%s is out of range", clip([]byte(word)))
	}
	return cm, nil
}

// power returns centimetres as a digit and a power of ten, rounded down.
func power(cm int64) byte {
	exponent := byte(0)
	for cm > 9 {
		cm /= 10
		exponent++
	}
	return byte(cm)<<4 | exponent
}

func printLocation(o *octets) error {
	b, err := o.take(16)
	if err != nil {
		return err
	}
	if b[0] != 0 {
		return errors.New("unknown version")
	}
	latitude, err := angleText(binary.BigEndian.Uint32(b[4:]), "N", "S", 90)
	if err != nil {
		return err
	}
	longitude, err := angleText(binary.BigEndian.Uint32(b[8:]), "E", "W", 180)
	if err != nil {
		return err
	}
	altitude := int64(binary.BigEndian.Uint32(b[12:])) - 10000000
	sign := ""
	if altitude < 0 {
		sign, altitude = "-", -altitude
	}
	o.add("%s %s %s%d.%02dm", latitude, longitude, sign, altitude/100, altitude%100)
	for _, c := range b[1:4] {
		digit, exponent := int64(c>>4), int(c&15)
		if digit > 9 || exponent > 9 || digit == 0 && exponent > 0 {
			return errors.New("a size is not well formed")
		}
		for range exponent {
			digit *= 10
		}
		o.add("%d.%02dm", digit/100, digit%100)
	}
	return nil
}

func angleText(v uint32, plus, minus string, most int64) (string, error) {
	n, direction := int64(v)-1<<31, plus
	if n < 0 {
		n, direction = -n, minus
	}
	if n > most*3600*1000 {
		return "", errors.New("an angle is out of range")
	}
	return fmt.Sprintf("%d %d %d.%03d %s", n/3600000, n/60000%60, n/1000%60, n%1000, direction), nil
}
