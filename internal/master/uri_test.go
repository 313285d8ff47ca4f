package master

import "testing"

func TestParseURI(t *testing.T) {
	const arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	for _, tc := range []struct {
		in   string
		want URI
		back string // what String gives, when it isn't in
	}{
		{in: "local", want: URI{Scheme: SchemeLocal}},
		{in: "local:", want: URI{Scheme: SchemeLocal}, back: "local"},
		{in: "awskms:///alias/vigil?region=eu-central-1", want: URI{Scheme: SchemeAWSKMS, KeyID: "alias/vigil", Region: "eu-central-1"}},
		{in: "awskms:///" + arn, want: URI{Scheme: SchemeAWSKMS, KeyID: arn, Region: "eu-central-1"}},
		{
			in:   "awskms:///" + arn + "?region=eu-central-1",
			want: URI{Scheme: SchemeAWSKMS, KeyID: arn, Region: "eu-central-1"},
			back: "awskms:///" + arn,
		},
		{
			in:   "awskms:///1234abcd?endpoint=http%3A%2F%2F127.0.0.1%3A99&imds=true&profile=work&region=us-east-1",
			want: URI{Scheme: SchemeAWSKMS, KeyID: "1234abcd", Region: "us-east-1", Endpoint: "http://127.0.0.1:99", Profile: "work", IMDS: true},
		},
	} {
		got, err := ParseURI(tc.in)
		if err != nil {
			t.Errorf("ParseURI(%q): %v", tc.in, err)
			continue
		}
		if got != tc.want {
			t.Errorf("ParseURI(%q) = %+v, want %+v", tc.in, got, tc.want)
		}
		if tc.back == "" {
			tc.back = tc.in
		}
		if got.String() != tc.back {
			t.Errorf("ParseURI(%q).String() = %q, want %q", tc.in, got.String(), tc.back)
		}
	}
}

func TestParseURIRefuses(t *testing.T) {
	const arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd"
	for name, in := range map[string]string{
		"empty":                    "",
		"another scheme":           "gcpkms:///x",
		"no key":                   "awskms:///",
		"key as host":              "awskms://1234abcd",
		"user":                     "awskms://me@/1234",
		"unknown parameter":        "awskms:///1234?contxt=a",
		"parameter twice":          "awskms:///1234?region=a&region=b",
		"imds neither on nor off":  "awskms:///1234?imds=false",
		"parameter without value":  "awskms:///1234?region=",
		"region against the ARN":   "awskms:///" + arn + "?region=us-east-1",
		"ARN of another service":   "awskms:///arn:aws:s3:::bucket",
		"ARN of something else":    "awskms:///arn:aws:kms:eu-central-1:111122223333:custom/x",
		"white space in the key":   "awskms:///a%20b",
		"local with a path":        "local:///x",
		"fragment":                 "awskms:///1234#x",
		"longer than the limit":    "awskms:///" + string(make([]byte, maxURI)),
		"broken percent encoding":  "awskms:///%zz",
		"broken query":             "awskms:///1234?region=%zz",
		"opaque instead of a path": "awskms:1234",
	} {
		if got, err := ParseURI(in); err == nil {
			t.Errorf("%s: ParseURI(%.60q) = %+v, want an error", name, in, got)
		}
	}
}
