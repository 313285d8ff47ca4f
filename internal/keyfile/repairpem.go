package keyfile

import (
	"bytes"
	"regexp"

	"vigil/internal/guard"
)

var (
	// boundary matches a line that begins or ends a private key, also with fewer or
	// other dashes and in the middle of a line.
	boundary = regexp.MustCompile(`-+ *(BEGIN|END) +((?:[A-Z0-9]+ +)*PRIVATE +KEY) *-+`)
	// dekInfo matches the headers of RFC 1421 before an encrypted key. The
	// initialisation vector has the size of the cipher's block.
	dekInfo = regexp.MustCompile(`^[\s>"']*Proc-Type: *4,ENCRYPTED[\s>"']*DEK-Info: *((?:DES|BF|CAST5|IDEA|RC2)[A-Z0-9-]*,[0-9A-Fa-f]{16}|[A-Z0-9-]+,[0-9A-Fa-f]{32})`)
)

// repairPEM returns the only PEM block of a private key in plain, as pem.Decode reads
// it.
func repairPEM(plain []byte) (*repaired, error) {
	found := boundary.FindAllSubmatchIndex(plain, -1)
	if len(found) == 0 {
		return nil, nil
	}
	var begins, ends [][]int
	for _, at := range found {
		if plain[at[2]] == 'B' {
			begins = append(begins, at)
		} else {
			ends = append(ends, at)
		}
	}
	switch {
	case len(begins) > 1:
		return nil, ErrMultipleKeys
	case len(begins) == 0:
		return nil, damaged("the line with BEGIN is missing or incomplete; copy the whole file")
	case len(ends) == 0 || ends[0][0] < begins[0][1]:
		return nil, damaged("the line with END is missing or incomplete; copy the whole file")
	}
	begin, end := begins[0], ends[0]
	label := bytes.Join(bytes.Fields(plain[begin[4]:begin[5]]), []byte(" "))
	if !bytes.Equal(label, bytes.Join(bytes.Fields(plain[end[4]:end[5]]), []byte(" "))) {
		return nil, damaged("the lines with BEGIN and END name different kinds of keys; copy the whole file")
	}
	out := make([]byte, 0, len(plain)+2*len("-----BEGIN -----\n\n\n")+2*len(label)+len("Proc-Type: 4,ENCRYPTED\nDEK-Info: \n\n")+len("==\n"))
	out = append(append(append(out, "-----BEGIN "...), label...), "-----\n"...)
	out, size := appendHeaders(out, plain[begin[1]:end[0]])
	body := begin[1] + size
	out, oddLine, err := joinBase64(out, plain[body:end[0]], 1+bytes.Count(plain[:body], []byte("\n")))
	if err != nil {
		guard.Wipe(out)
		return nil, err
	}
	out = append(append(append(out, "\n-----END "...), label...), "-----\n"...)
	return &repaired{out, oddLine}, nil
}

// appendHeaders appends the headers at the start of what is between BEGIN and END, and
// returns their size there.
func appendHeaders(out, body []byte) ([]byte, int) {
	if at := dekInfo.FindSubmatchIndex(body); at != nil {
		out = append(out, "Proc-Type: 4,ENCRYPTED\nDEK-Info: "...)
		return append(append(out, body[at[2]:at[3]]...), "\n\n"...), at[1]
	}
	size, headers := 0, 0
	for line := range bytes.Lines(body) {
		bare := bareLine(bytes.TrimSuffix(line, []byte("\n")))
		if len(bare) > 0 && bytes.IndexByte(bare, ':') < 0 {
			break
		}
		size += len(line)
		if len(bare) > 0 {
			out = append(append(out, bare...), '\n')
			headers = size
		}
	}
	if headers > 0 {
		out = append(out, '\n')
	}
	return out, headers
}
