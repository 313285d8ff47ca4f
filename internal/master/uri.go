package master

import (
	"fmt"
	"net/url"
	"strings"
)

// Schemes of a master key's URI.
const (
	SchemeLocal  = "local"
	SchemeAWSKMS = "awskms"
)

// maxURI is the longest URI that is parsed, in bytes. A key ARN has at most 2,048
// characters.
const maxURI = 4096

// URI names a master key:
//
//	local
//	awskms:///<key id, key ARN, alias/NAME or alias ARN>[?region=…&endpoint=…&profile=…&imds=true]
//
// The form with three slashes is that of gocloud.dev and of sops.
type URI struct {
	Scheme   string // SchemeLocal or SchemeAWSKMS
	KeyID    string // key id, key ARN, alias name with its "alias/", or alias ARN
	Region   string // AWS region; from the ARN if the URI has none; may be empty
	Endpoint string // base URL that replaces the region's KMS endpoint; may be empty
	Profile  string // profile of the AWS configuration files; may be empty
	IMDS     bool   // credentials may come from the instance metadata service
}

// ParseURI reads a master key's URI and refuses unknown parameters. The master key
// that uses an endpoint checks whether it is acceptable.
func ParseURI(s string) (URI, error) {
	if len(s) > maxURI {
		return URI{}, fmt.Errorf("master key URI is longer than %d bytes", maxURI)
	}
	if s == SchemeLocal || s == SchemeLocal+":" {
		return URI{Scheme: SchemeLocal}, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return URI{}, fmt.Errorf("parse master key URI: %w", err)
	}
	if u.Scheme != SchemeAWSKMS {
		return URI{}, fmt.Errorf("master key URI %q: want local or awskms:///KEY", s)
	}
	if u.Host != "" || u.User != nil || u.Opaque != "" || u.Fragment != "" {
		return URI{}, fmt.Errorf("master key URI %q: want three slashes, awskms:///KEY", s)
	}
	k := URI{Scheme: SchemeAWSKMS, KeyID: strings.TrimPrefix(u.Path, "/")}
	if k.KeyID == "" || strings.ContainsAny(k.KeyID, " \t\r\n") {
		return URI{}, fmt.Errorf("master key URI %q names no key", s)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return URI{}, fmt.Errorf("parse parameters of master key URI: %w", err)
	}
	for name, values := range query {
		if len(values) != 1 || values[0] == "" {
			return URI{}, fmt.Errorf("master key URI %q: give %s once, with a value", s, name)
		}
		switch name {
		case "region":
			k.Region = values[0]
		case "endpoint":
			k.Endpoint = values[0]
		case "profile":
			k.Profile = values[0]
		case "imds":
			if values[0] != "true" {
				return URI{}, fmt.Errorf("master key URI %q: imds is true or left out", s)
			}
			k.IMDS = true
		default:
			return URI{}, fmt.Errorf("master key URI %q: unknown parameter %q", s, name)
		}
	}
	return k.resolve()
}

// resolve fills in the region from the ARN, and refuses a URI with two regions.
func (u URI) resolve() (URI, error) {
	if region, ok := arnRegion(u.KeyID); ok {
		if u.Region != "" && u.Region != region {
			return URI{}, fmt.Errorf("master key URI: the key is in %s, region=%s is another", region, u.Region)
		}
		u.Region = region
	} else if strings.HasPrefix(u.KeyID, "arn:") {
		return URI{}, fmt.Errorf("master key URI: %q is not the ARN of a KMS key or alias", u.KeyID)
	}
	return u, nil
}

// arnRegion returns the region of a KMS key's or alias's ARN,
// arn:PARTITION:kms:REGION:ACCOUNT:(key|alias)/NAME.
func arnRegion(id string) (region string, ok bool) {
	parts := strings.SplitN(id, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "kms" || parts[3] == "" {
		return "", false
	}
	if !strings.HasPrefix(parts[5], "key/") && !strings.HasPrefix(parts[5], "alias/") {
		return "", false
	}
	return parts[3], true
}

// String returns the URI in the form that ParseURI reads, with parameters in
// alphabetical order and without redundant ones.
func (u URI) String() string {
	if u.Scheme != SchemeAWSKMS {
		return u.Scheme
	}
	query := url.Values{}
	if region, _ := arnRegion(u.KeyID); u.Region != "" && u.Region != region {
		query.Set("region", u.Region)
	}
	if u.Endpoint != "" {
		query.Set("endpoint", u.Endpoint)
	}
	if u.Profile != "" {
		query.Set("profile", u.Profile)
	}
	if u.IMDS {
		query.Set("imds", "true")
	}
	s := SchemeAWSKMS + ":///" + u.KeyID
	if len(query) > 0 {
		s += "?" + query.Encode()
	}
	return s
}
