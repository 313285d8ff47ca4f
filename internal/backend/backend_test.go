package backend

import "testing"

func TestParseURI(t *testing.T) {
	for in, want := range map[string]URI{
		"file":                     {Scheme: SchemeFile},
		"file:///srv/keyrings/a b": {Scheme: SchemeFile, Path: "/srv/keyrings/a b"},
		"s3://team-keys":           {Scheme: SchemeS3, Bucket: "team-keys"},
		"s3://team-keys/vigil/ops?endpoint=https%3A%2F%2Fminio.example&imds=true&profile=p&region=eu-west-1": {
			Scheme: SchemeS3, Bucket: "team-keys", Prefix: "vigil/ops", Region: "eu-west-1", Endpoint: "https://minio.example", Profile: "p", IMDS: true,
		},
	} {
		got, err := ParseURI(in)
		if err != nil || got != want {
			t.Errorf("ParseURI(%q) = %+v, %v; want %+v", in, got, err, want)
			continue
		}
		again, err := ParseURI(got.String())
		if err != nil || again != got {
			t.Errorf("ParseURI(%q) = %+v, %v; want what String was called on", got.String(), again, err)
		}
	}
}

func TestParseURIRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty":               "",
		"another scheme":      "gs://bucket",
		"relative path":       "file:keyring",
		"file on a host":      "file://host/keyring",
		"file with a query":   "file:///keyring?region=x",
		"no bucket":           "s3:///prefix",
		"bucket in capitals":  "s3://Keys/prefix",
		"bucket with a user":  "s3://me@keys/prefix",
		"unknown parameter":   "s3://keys/prefix?regoin=x",
		"imds off":            "s3://keys?imds=0",
		"parameter twice":     "s3://keys?region=a&region=b",
		"parameter, no value": "s3://keys?region=",
		"fragment":            "s3://keys#x",
		"too long":            "s3://keys/" + string(make([]byte, maxURI)),
	} {
		if got, err := ParseURI(in); err == nil {
			t.Errorf("%s: ParseURI(%.60q) = %+v, want an error", name, in, got)
		}
	}
}

func TestKeyOfAnObject(t *testing.T) {
	if got := (URI{Prefix: "a/b"}).Key(Deks); got != "a/b/deks" {
		t.Errorf("Key = %q", got)
	}
	if got := (URI{}).Key(Members); got != "members" {
		t.Errorf("Key = %q", got)
	}
}

func TestForever(t *testing.T) {
	for _, tc := range []struct {
		r    Retention
		want bool
	}{
		{Retention{}, false},
		{Retention{Versioned: true}, true},
		{Retention{Versioned: true, Generations: 3}, false},
		{Retention{Versioned: true, Days: 30}, false},
		{Retention{Versioned: true, Unknown: "not allowed to ask"}, false},
	} {
		if got := tc.r.Forever(); got != tc.want {
			t.Errorf("%+v.Forever() = %v", tc.r, got)
		}
	}
}
