package backend

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
)

// Schemes of a backend's URI.
const (
	SchemeFile = "file"
	SchemeS3   = "s3"
)

// maxURI limits the length in bytes of a URI that is parsed.
const maxURI = 4096

// URI names a keyring store:
//
//	file                       the default directory
//	file:///absolute/path      a directory
//	s3://bucket[/prefix][?region=…&endpoint=…&profile=…&imds=true]
type URI struct {
	Scheme   string // SchemeFile or SchemeS3
	Path     string // directory, absolute; empty means the default directory
	Bucket   string
	Prefix   string // without slashes at either end; may be empty
	Region   string // AWS region; may be empty
	Endpoint string // base URL of an S3-compatible store; may be empty
	Profile  string // profile of the AWS configuration files; may be empty
	IMDS     bool   // credentials may come from the instance metadata service
}

// isBucket reports whether name is what Amazon S3 allows for general purpose buckets. (A
// regular expression for it would be compiled at each start of vigilctl.)
func isBucket(name string) bool {
	return len(name) >= 3 && len(name) <= 63 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") == "" &&
		!strings.ContainsAny(name[:1]+name[len(name)-1:], ".-")
}

// ParseURI reads a backend's URI and refuses unknown parameters. The store that
// uses an endpoint checks whether it is acceptable.
func ParseURI(s string) (URI, error) {
	if len(s) > maxURI {
		return URI{}, fmt.Errorf("backend URI is longer than %d bytes", maxURI)
	}
	if s == SchemeFile {
		return URI{Scheme: SchemeFile}, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return URI{}, fmt.Errorf("parse backend URI: %w", err)
	}
	if u.User != nil || u.Opaque != "" || u.Fragment != "" {
		return URI{}, fmt.Errorf("backend URI %q: want file:///PATH or s3://BUCKET/PREFIX", s)
	}
	switch u.Scheme {
	case SchemeFile:
		if u.Host != "" || u.RawQuery != "" || !filepath.IsAbs(u.Path) {
			return URI{}, fmt.Errorf("backend URI %q: want file:///PATH", s)
		}
		return URI{Scheme: SchemeFile, Path: filepath.Clean(u.Path)}, nil
	case SchemeS3:
		return parseS3(s, u)
	}
	return URI{}, fmt.Errorf("backend URI %q: want file:///PATH or s3://BUCKET/PREFIX", s)
}

func parseS3(s string, u *url.URL) (URI, error) {
	b := URI{Scheme: SchemeS3, Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	if !isBucket(b.Bucket) {
		return URI{}, fmt.Errorf("backend URI %q: %q is not a bucket name", s, b.Bucket)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return URI{}, fmt.Errorf("parse parameters of backend URI: %w", err)
	}
	for name, values := range query {
		if len(values) != 1 || values[0] == "" {
			return URI{}, fmt.Errorf("backend URI %q: give %s once, with a value", s, name)
		}
		switch name {
		case "region":
			b.Region = values[0]
		case "endpoint":
			b.Endpoint = values[0]
		case "profile":
			b.Profile = values[0]
		case "imds":
			if values[0] != "true" {
				return URI{}, fmt.Errorf("backend URI %q: imds is true or left out", s)
			}
			b.IMDS = true
		default:
			return URI{}, fmt.Errorf("backend URI %q: unknown parameter %q", s, name)
		}
	}
	return b, nil
}

// Key returns the S3 key of an object under the URI's prefix.
func (u URI) Key(o Object) string {
	if u.Prefix == "" {
		return string(o)
	}
	return u.Prefix + "/" + string(o)
}

// String returns the URI in the form that ParseURI reads.
func (u URI) String() string {
	switch u.Scheme {
	case SchemeS3:
		s := url.URL{Scheme: SchemeS3, Host: u.Bucket}
		if u.Prefix != "" {
			s.Path = "/" + u.Prefix
		}
		query := url.Values{}
		for name, value := range map[string]string{"region": u.Region, "endpoint": u.Endpoint, "profile": u.Profile} {
			if value != "" {
				query.Set(name, value)
			}
		}
		if u.IMDS {
			query.Set("imds", "true")
		}
		s.RawQuery = query.Encode()
		return s.String()
	default:
		if u.Path == "" {
			return SchemeFile
		}
		return (&url.URL{Scheme: SchemeFile, Path: u.Path}).String()
	}
}
